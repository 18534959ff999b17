//! The error boundary: what lapin says becomes the runtime's [`Error`] here and nowhere else.

use keylane::{Class, Error, ErrorKind};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};

/// A failed call: `what` says what was tried and on what.
pub(crate) fn error(what: impl Into<String>, cause: lapin::Error) -> Error {
    let (kind, class, remedy) = judge(&cause);
    let remedy = remedy.map_or(String::new(), |remedy| format!("; {remedy}"));
    Error::new(kind, format!("{}: {cause}{remedy}", what.into())).with_class(class).with_source(cause)
}

/// A queue or exchange is not there: the one message for it, wherever it is noticed.
pub(crate) fn missing(thing: &str, name: &str) -> Error {
    let remedy = "create it or correct the name; `declare = true` in the subscription's table `rabbitmq` declares its source, no target";
    permanent(format!("rabbitmq has no {thing} {name:?}; {remedy}"))
}

/// Nobody can help but who wrote it.
pub(crate) fn permanent(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Broker, what).with_class(Class::Permanent)
}

/// Worth another try.
pub(crate) fn transient(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Broker, what).with_class(Class::Transient)
}

/// The consumer, publisher or connection is closed.
pub(crate) fn closed(what: &str) -> Error {
    Error::new(ErrorKind::Closed, format!("{what} is closed"))
}

pub(crate) fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("rabbitmq {what}"))
}

/// Whether the broker answered that something is not there. A classic queue whose node is down is there: it only can't
/// be reached.
pub(crate) fn is_missing(cause: &lapin::Error) -> bool {
    soft(cause) == Some(&AMQPSoftError::NOTFOUND) && !message(cause).contains("down or inaccessible")
}

/// The broker's own words.
fn message(cause: &lapin::Error) -> &str {
    match cause.kind() {
        lapin::ErrorKind::ProtocolError(error) => error.get_message().as_str(),
        _ => "",
    }
}

fn soft(cause: &lapin::Error) -> Option<&AMQPSoftError> {
    match cause.kind() {
        lapin::ErrorKind::ProtocolError(error) => match error.kind() {
            AMQPErrorKind::Soft(soft) => Some(soft),
            AMQPErrorKind::Hard(_) => None,
        },
        _ => None,
    }
}

type Judged = (ErrorKind, Class, Option<&'static str>);

/// What stays wrong until somebody changes something. Everything else is worth another try.
fn judge(cause: &lapin::Error) -> Judged {
    use lapin::ErrorKind as Kind;
    match cause.kind() {
        Kind::ProtocolError(error) => match error.kind() {
            AMQPErrorKind::Soft(soft) => judge_soft(soft, message(cause)),
            AMQPErrorKind::Hard(hard) => judge_hard(hard),
        },
        Kind::IOError(cause) if is_certificate(&cause.to_string()) => {
            let remedy = "look at the table `tls`: ca_file holds the authority that signed the server's certificate, which names the host of uri; where the server asks for our certificate, certificate_file and key_file";
            (ErrorKind::Broker, Class::Permanent, Some(remedy))
        }
        Kind::InvalidProtocolVersion(_) | Kind::AuthProviderError(_) | Kind::NoDefaultRuntime => {
            (ErrorKind::Broker, Class::Permanent, None)
        }
        _ => (ErrorKind::Broker, Class::Transient, None),
    }
}

fn judge_soft(soft: &AMQPSoftError, message: &str) -> Judged {
    match soft {
        AMQPSoftError::ACCESSREFUSED if message.contains("Login") || message.contains("login") => {
            let remedy = "look at user and password in uri, and at what the server lets this user do";
            (ErrorKind::Broker, Class::Permanent, Some(remedy))
        }
        AMQPSoftError::ACCESSREFUSED => {
            let remedy = "give the user of uri the right to do this";
            (ErrorKind::Broker, Class::Permanent, Some(remedy))
        }
        // A delivery that was unsettled for too long, too: it is mended by a new connection.
        AMQPSoftError::PRECONDITIONFAILED if message.contains("timed out") || message.contains("unknown") => {
            (ErrorKind::Broker, Class::Transient, None)
        }
        AMQPSoftError::PRECONDITIONFAILED if message.contains("inequivalent") => {
            let remedy = "it is there and is another one: say in the subscription's table `rabbitmq` what it is, or leave `declare` out, which takes it as it is";
            (ErrorKind::Broker, Class::Permanent, Some(remedy))
        }
        AMQPSoftError::PRECONDITIONFAILED => (ErrorKind::Broker, Class::Permanent, None),
        _ => (ErrorKind::Broker, Class::Transient, None),
    }
}

fn judge_hard(hard: &AMQPHardError) -> Judged {
    match hard {
        AMQPHardError::NOTALLOWED | AMQPHardError::INVALIDPATH => {
            let remedy = "look at the virtual host in uri, and whether its user may use it";
            (ErrorKind::Broker, Class::Permanent, Some(remedy))
        }
        AMQPHardError::NOTIMPLEMENTED | AMQPHardError::COMMANDINVALID => {
            (ErrorKind::Unsupported, Class::Permanent, None)
        }
        _ => (ErrorKind::Broker, Class::Transient, None),
    }
}

/// rustls' errors come as text inside of an error of input and output.
fn is_certificate(said: &str) -> bool {
    said.contains("certificate")
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;

    use super::*;

    fn cause(kind: AMQPErrorKind, message: &str) -> lapin::Error {
        lapin::ErrorKind::ProtocolError(AMQPError::new(kind, message.into())).into()
    }

    #[test]
    fn classes_are_set_at_the_boundary() {
        let soft = |soft, message: &str| error("asking", cause(AMQPErrorKind::Soft(soft), message));
        let refused = soft(AMQPSoftError::ACCESSREFUSED, "ACCESS_REFUSED - Login was refused");
        assert!(!refused.is_transient() && refused.to_string().contains("password"), "{refused}");
        let another = soft(AMQPSoftError::PRECONDITIONFAILED, "inequivalent arg 'x-queue-type'");
        assert!(!another.is_transient() && another.to_string().contains("leave `declare` out"), "{another}");
        let late = "delivery acknowledgement on channel 1 timed out";
        assert!(soft(AMQPSoftError::PRECONDITIONFAILED, late).is_transient());
        let hard = |hard| error("asking", cause(AMQPErrorKind::Hard(hard), ""));
        assert!(!hard(AMQPHardError::NOTALLOWED).is_transient());
        assert!(hard(AMQPHardError::CONNECTIONFORCED).is_transient());
        assert!(!missing("queue", "orders").is_transient());
    }

    #[test]
    fn a_queue_on_a_node_that_is_down_is_not_missing() {
        let of = |message| is_missing(&cause(AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND), message));
        assert!(of("NOT_FOUND - no queue 'q' in vhost '/'"));
        assert!(!of("NOT_FOUND - home node 'a@b' of durable queue 'q' in vhost '/' is down or inaccessible"));
    }
}
