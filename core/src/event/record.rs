//! A broker's message, before anyone looked into it.

use bytes::Bytes;

use crate::env::Timestamp;
use crate::text::Text;

/// One message as it lies on the broker. The buffers are shared, so a clone copies no bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// The broker's own ordering or partition key, where it has one.
    pub key: Option<Bytes>,
    /// Headers (attributes, properties) in the broker's order.
    pub headers: Headers,
    /// The body.
    pub payload: Bytes,
    /// When the broker or the producer says it was written.
    pub time: Option<Timestamp>,
    /// The broker's own message id, where it has one that a redelivery repeats.
    pub id: Option<Text>,
}

impl Record {
    /// A record with a payload and nothing else.
    #[must_use]
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { payload: payload.into(), ..Self::default() }
    }

    /// The same with an ordering key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<Text>, value: impl Into<Bytes>) -> Self {
        self.headers.push(name.into(), value.into());
        self
    }

    /// How many bytes this record is charged for against a budget: what it carries plus a flat
    /// amount for what holds it.
    #[must_use]
    pub fn footprint(&self) -> usize {
        const HOLDING: usize = 256;
        HOLDING + self.payload.len() + self.key.as_ref().map_or(0, Bytes::len) + self.headers.bytes()
    }
}

/// Headers in order; a name may stand more than once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(Vec<(Text, Bytes)>);

impl Headers {
    /// No headers; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Room for `n` headers.
    #[must_use]
    pub fn with_capacity(n: usize) -> Self {
        Self(Vec::with_capacity(n))
    }

    /// Appends a header.
    pub fn push(&mut self, name: Text, value: Bytes) {
        self.0.push((name, value));
    }

    /// Makes `value` the only one called `name`: the place of the first is kept, the others go.
    pub fn set(&mut self, name: &Text, value: Bytes) {
        let first = self.0.iter().position(|(n, _)| n == name).unwrap_or(self.0.len());
        self.remove(name);
        self.0.insert(first, (name.clone(), value));
    }

    /// Removes every header called `name`.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| *n.as_bytes() != *name.as_bytes());
    }

    /// The value of the first header called `name`, letter case as it is.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&Bytes> {
        self.0.iter().find(|(n, _)| *n.as_bytes() == *name.as_bytes()).map(|(_, value)| value)
    }

    /// The first header called `name` as text; `None` when absent or not UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.first(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All headers in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Text, &Bytes)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes of all names and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.as_bytes().len() + value.len()).sum()
    }
}

impl FromIterator<(Text, Bytes)> for Headers {
    fn from_iter<I: IntoIterator<Item = (Text, Bytes)>>(headers: I) -> Self {
        Self(headers.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_a_header_leaves_one_of_its_name() {
        let mut headers =
            Record::default().with_header("a", "1").with_header("b", "2").with_header("a", "3").headers;
        headers.set(&"b".into(), "4".into());
        headers.set(&"a".into(), "5".into());
        headers.set(&"c".into(), "6".into());
        let all: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
        assert_eq!(all, [("a", &b"5"[..]), ("b", b"4"), ("c", b"6")]);
    }
}
