//! How queues and exchanges are named in sources and targets.
//!
//! A bare name is a queue. The rest is RabbitMQ's own notation (its "address v2"): `/queues/NAME`,
//! `/exchanges/NAME/ROUTING-KEY` and `/exchanges/NAME`, percent-encoded. In the last one the record's key is the routing
//! key.

use keylane::{Error, ErrorKind};

/// The longest name and routing key of AMQP, in bytes.
const NAME_MAX: usize = 255;

/// Where messages go to or come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Queue(String),
    Exchange {
        name: String,
        /// `None`: the record's own key.
        routing_key: Option<String>,
    },
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| {
            let forms = "write NAME, /queues/NAME, /exchanges/NAME or /exchanges/NAME/ROUTING-KEY";
            Error::new(ErrorKind::Config, format!("{text:?} is no queue and no exchange: {why}; {forms}"))
        };
        let name = |text: &str| {
            let name = decoded(text).ok_or_else(|| wrong("its percent-encoding is broken"))?;
            let fits = (1..=NAME_MAX).contains(&name.len());
            fits.then_some(name).ok_or_else(|| wrong("a name has 1 to 255 bytes"))
        };
        if let Some(rest) = text.strip_prefix("/exchanges/") {
            let (exchange, key) = rest.split_once('/').map_or((rest, None), |(name, key)| (name, Some(key)));
            let routing_key = key.map(|key| if key.is_empty() { Ok(String::new()) } else { name(key) });
            return Ok(Self::Exchange { name: name(exchange)?, routing_key: routing_key.transpose()? });
        }
        if let Some(queue) = text.strip_prefix("/queues/") {
            return Ok(Self::Queue(name(queue)?));
        }
        if !(1..=NAME_MAX).contains(&text.len()) {
            return Err(wrong("a name has 1 to 255 bytes"));
        }
        if text.starts_with('/') {
            // More likely a form misspelt than a queue of that name.
            return Err(wrong("a queue whose name begins with a slash is /queues/%2FNAME"));
        }
        Ok(Self::Queue(text.to_owned()))
    }
}

/// A routing key for an ordering key: itself where it can be one, else hexadecimal digits. Two keys may share one, and
/// so a queue; one key never has two.
pub(crate) fn routing_key(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if text.len() <= NAME_MAX => text.to_owned(),
        _ => key.iter().take(NAME_MAX / 2).map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(name: &str, routing_key: Option<&str>) -> Address {
        Address::Exchange { name: name.into(), routing_key: routing_key.map(str::to_owned) }
    }

    #[test]
    fn forms() {
        let of = |text| Address::parse(text).unwrap();
        assert_eq!(of("orders"), Address::Queue("orders".into()));
        assert_eq!(of("eu/orders %"), Address::Queue("eu/orders %".into()));
        assert_eq!(of("/queues/eu%2Forders"), Address::Queue("eu/orders".into()));
        assert_eq!(of("/exchanges/orders"), exchange("orders", None));
        assert_eq!(of("/exchanges/a%2fb/order.paid"), exchange("a/b", Some("order.paid")));
        assert_eq!(of("/exchanges/a/"), exchange("a", Some("")));
    }

    #[test]
    fn what_is_none_says_what_to_write() {
        for text in
            ["", "/exchanges/", "/exchanges/a%2", "/queues/%zz", "/queue/a", "/exchange/a", &"x".repeat(256)]
        {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains("write NAME"), "{error}");
        }
    }

    #[test]
    fn one_key_has_one_routing_key() {
        assert_eq!(routing_key(b"customer 7"), "customer 7");
        assert_eq!(routing_key(&[0, 255]), "00ff");
        assert_eq!(routing_key(&[b'x'; 300]).len(), 254);
    }
}
