//! The error boundary: what librdkafka says becomes the runtime's [`Error`] here and nowhere else.

use keylane::{Class, Error, ErrorKind};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::refusal::Refusal;

/// A failed call: `what` says what was tried and on what.
pub(crate) fn error(what: impl Into<String>, cause: KafkaError) -> Error {
    let said = cause.to_string();
    build(what.into(), &said, cause)
}

/// A failed call behind which stands that the brokers let nobody in.
pub(crate) fn refused(what: impl Into<String>, refusal: Refusal) -> Error {
    build(what.into(), &refusal.words, KafkaError::Global(refusal.code))
}

fn build(what: String, said: &str, cause: KafkaError) -> Error {
    let (kind, class) = judge(&cause);
    let remedy = match &cause {
        KafkaError::ClientCreation(said) => creation_remedy(said),
        _ => cause.rdkafka_error_code().and_then(remedy),
    };
    let remedy = remedy.map_or(String::new(), |remedy| format!("; {remedy}"));
    Error::new(kind, format!("{what}: {said}{remedy}")).with_class(class).with_source(cause)
}

/// The source is not there: the one message for it, wherever it is noticed.
pub(crate) fn missing(topic: &str) -> Error {
    Error::new(ErrorKind::Broker, format!("kafka has no topic {topic:?}; create it or correct the name"))
        .with_class(Class::Permanent)
}

/// The consumer, publisher or connection is closed.
pub(crate) fn closed(what: &str) -> Error {
    Error::new(ErrorKind::Closed, format!("{what} is closed"))
}

/// What an error event of a running consumer means to whoever pulls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// librdkafka mends it and nothing is missed meanwhile.
    Mended,
    /// Nothing comes until it passes; worth telling.
    Passing,
    /// The topic may be gone: to be asked for before it is believed, because a broker that starts up
    /// says the same for a moment.
    Gone,
    /// Nothing may be delivered after this: it would skip records.
    Final,
}

/// Judges an error that `poll` returned.
pub(crate) fn verdict(cause: &KafkaError) -> Verdict {
    if matches!(cause, KafkaError::MessageConsumptionFatal(_)) {
        return Verdict::Final;
    }
    match cause.rdkafka_error_code() {
        Some(Code::AllBrokersDown) => Verdict::Passing,
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => Verdict::Gone,
        Some(code) if class_of(code) == Class::Permanent => Verdict::Final,
        _ => Verdict::Mended,
    }
}

fn judge(cause: &KafkaError) -> (ErrorKind, Class) {
    match cause {
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) | KafkaError::Nul(_) => {
            (ErrorKind::Config, Class::Permanent)
        }
        KafkaError::Canceled => (ErrorKind::Closed, Class::Permanent),
        KafkaError::MessageConsumptionFatal(_) => (ErrorKind::Broker, Class::Permanent),
        _ => match cause.rdkafka_error_code() {
            Some(code) => (kind_of(code), class_of(code)),
            None => (ErrorKind::Broker, Class::Transient),
        },
    }
}

fn kind_of(code: Code) -> ErrorKind {
    match code {
        Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => ErrorKind::LogChanged,
        Code::BadMessage | Code::BadCompression | Code::InvalidMessage => ErrorKind::Corrupt,
        Code::OperationTimedOut | Code::RequestTimedOut | Code::MessageTimedOut => ErrorKind::Timeout,
        Code::NotImplemented | Code::UnsupportedFeature | Code::UnsupportedVersion => ErrorKind::Unsupported,
        _ => ErrorKind::Broker,
    }
}

/// What stays wrong until somebody changes something. Everything else is worth another try.
fn class_of(code: Code) -> Class {
    match code {
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::InvalidTopic
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::UnsupportedFeature
        | Code::UnsupportedVersion
        | Code::InconsistentGroupProtocol
        | Code::InvalidGroupId
        | Code::InvalidSessionTimeout
        | Code::InvalidConfig
        | Code::InvalidRequest
        | Code::PolicyViolation
        | Code::MessageSizeTooLarge
        | Code::AutoOffsetReset
        | Code::OffsetOutOfRange
        | Code::LogTruncation
        | Code::NotImplemented
        | Code::BadCompression
        | Code::BadMessage
        | Code::InvalidMessage
        | Code::Fatal
        | Code::Fenced => Class::Permanent,
        _ => Class::Transient,
    }
}

fn remedy(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::AutoOffsetReset | Code::OffsetOutOfRange => {
            "the log no longer holds the offset to read from (records expired, or the topic was made anew)"
        }
        Code::NotImplemented => {
            "for records compressed with zstd build keylane-kafka with its feature `zstd`"
        }
        Code::InconsistentGroupProtocol => {
            "other members of the group use another assignor or protocol; let them leave first"
        }
        Code::UnsupportedFeature | Code::UnsupportedVersion => {
            "protocol = \"consumer\" needs Apache Kafka 4.0; write protocol = \"classic\""
        }
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
            "look at username, password and mechanism in the table `sasl`: the brokers must know this user by this mechanism"
        }
        Code::SSL => {
            "look at the table `tls`: ca_file holds the authority that signed the brokers' certificates, which name the host of bootstrap_servers; where brokers ask for our certificate, certificate_file and key_file"
        }
        _ => return None,
    })
}

/// librdkafka names its own properties; these are the keys they come from.
fn creation_remedy(said: &str) -> Option<&'static str> {
    let keys = [
        ("ssl.ca.location", "look at ca_file in the table `tls`: a PEM file that can be read"),
        (
            "ssl.certificate.location",
            "look at certificate_file in the table `tls`: a PEM file that can be read",
        ),
        (
            "ssl.key.location",
            "look at key_file and key_password in the table `tls`: a PEM file that can be read",
        ),
    ];
    keys.into_iter().find(|(property, _)| said.contains(property)).map(|(_, remedy)| remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_set_at_the_boundary() {
        let of = |code| error("reading", KafkaError::MessageConsumption(code));
        assert!(of(Code::AllBrokersDown).is_transient());
        assert!(of(Code::RequestTimedOut).is_transient());
        assert!(!of(Code::TopicAuthorizationFailed).is_transient());
        assert_eq!(of(Code::AutoOffsetReset).kind(), ErrorKind::LogChanged);
        assert_eq!(of(Code::RequestTimedOut).kind(), ErrorKind::Timeout);
        assert!(!missing("orders").is_transient());
        assert!(missing("orders").to_string().contains("orders"));
    }

    #[test]
    fn what_lets_nobody_in_names_the_keys_to_look_at() {
        let of = |code, words: &str| refused("asking", Refusal { code, words: words.into() }).to_string();
        let said = of(Code::Authentication, "b:1: Invalid username");
        assert!(said.starts_with("asking: b:1: Invalid username; ") && said.contains("`sasl`"), "{said}");
        assert!(of(Code::SSL, "b:1: certificate verify failed").contains("ca_file"));
        let said = |said: &str| error("setting up", KafkaError::ClientCreation(said.into())).to_string();
        assert!(said("ssl.ca.location failed: no such file").contains("ca_file"));
        assert!(said("ssl.key.location failed: bad decrypt").contains("key_password"));
        assert!(!said("no memory").contains(';'));
    }

    #[test]
    fn what_would_skip_records_is_final() {
        let of = |code| verdict(&KafkaError::MessageConsumption(code));
        // An unreadable batch must stop the partition: the base would pass over it like over a gap.
        assert_eq!(of(Code::NotImplemented), Verdict::Final);
        assert_eq!(of(Code::BadCompression), Verdict::Final);
        assert_eq!(of(Code::AutoOffsetReset), Verdict::Final);
        assert_eq!(of(Code::UnknownTopicOrPartition), Verdict::Gone);
        assert_eq!(of(Code::AllBrokersDown), Verdict::Passing);
        assert_eq!(of(Code::BrokerTransportFailure), Verdict::Mended);
    }
}
