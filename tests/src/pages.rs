//! The snippets of README and guides, compiled as doctests: what stands there compiles, or is not there.

macro_rules! pages {
    ($($name:ident $path:literal)*) => {
        $(#[doc = include_str!($path)]
        pub struct $name;)*
    };
}

pages! {
    Readme "../../README.md"
    GettingStarted "../../docs/guides/getting-started.md"
    Handlers "../../docs/guides/handlers.md"
    Testing "../../docs/guides/testing.md"
    Kafka "../../docs/guides/kafka.md"
    Postgres "../../docs/guides/postgres.md"
    RabbitMq "../../docs/guides/rabbitmq.md"
    EmbeddedLog "../../docs/guides/embedded-log.md"
    DeadLetters "../../docs/guides/dead-letters.md"
    Operations "../../docs/guides/operations.md"
}
