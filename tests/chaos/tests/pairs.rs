//! Each story for each pair. Pairs with servers run where these are named by the environment.

use keylane_chaos::broker::BrokerKind;
use keylane_chaos::store::StoreKind;

use crate::stage::Pair;
use crate::stories;

mod log_and_sqlite {
    use super::*;

    const PAIR: Pair = Pair { broker: BrokerKind::Log, store: StoreKind::Sqlite };

    #[test]
    fn log_and_sqlite_worker_added() {
        stories::worker_added(PAIR);
    }

    #[test]
    fn log_and_sqlite_worker_drained() {
        stories::worker_drained(PAIR);
    }

    #[test]
    fn log_and_sqlite_worker_killed() {
        stories::worker_killed(PAIR);
    }

    #[test]
    fn log_and_sqlite_rebalance_during_long_handlers() {
        stories::rebalance_during_long_handlers(PAIR);
    }

    #[test]
    fn log_and_sqlite_cut_off_from_the_store() {
        stories::cut_off_from_the_store(PAIR);
    }

    #[test]
    fn log_and_sqlite_a_minute_of_chaos() {
        stories::a_minute_of_chaos(PAIR);
    }
}

/// Servers are there to be had: whoever runs the tests named them. These stories kill their own.
#[cfg_attr(
    not(all(feature = "postgres", any(feature = "kafka", feature = "rabbitmq"))),
    expect(dead_code, reason = "for pairs with servers")
)]
fn told(pair: Pair, variables: &[&str], story: fn(Pair)) {
    match variables.iter().find(|name| std::env::var_os(name).is_none()) {
        Some(name) => {
            println!("skipped: {name} is not set; tests/brokers/up starts the server and prints it")
        }
        None => story(pair),
    }
}

/// The same for a pair with servers.
macro_rules! with_servers {
    ($module:ident, $feature:literal, $broker:ident, $variable:literal) => {
        #[cfg(all(feature = "postgres", feature = $feature))]
        mod $module {
            use super::*;

            const PAIR: Pair = Pair { broker: BrokerKind::$broker, store: StoreKind::Postgres };
            const VARIABLES: [&str; 3] = [$variable, "KEYLANE_TEST_POSTGRES", "KEYLANE_TEST_TOXIPROXY"];

            #[test]
            fn worker_added() {
                told(PAIR, &VARIABLES, stories::worker_added);
            }

            #[test]
            fn worker_drained() {
                told(PAIR, &VARIABLES, stories::worker_drained);
            }

            #[test]
            fn worker_killed() {
                told(PAIR, &VARIABLES, stories::worker_killed);
            }

            #[test]
            fn rebalance_during_long_handlers() {
                told(PAIR, &VARIABLES, stories::rebalance_during_long_handlers);
            }

            #[test]
            fn cut_off_from_the_store() {
                told(PAIR, &VARIABLES, stories::cut_off_from_the_store);
            }

            #[test]
            fn cut_off_from_the_broker() {
                told(PAIR, &VARIABLES, stories::cut_off_from_the_broker);
            }

            #[test]
            fn a_minute_of_chaos() {
                told(PAIR, &VARIABLES, stories::a_minute_of_chaos);
            }

            /// Rule S10.
            mod two_databases {
                use super::*;

                const PAIR: Pair = Pair { broker: BrokerKind::$broker, store: StoreKind::Postgres2 };

                #[test]
                fn s10_cut_off_from_one_database() {
                    told(PAIR, &VARIABLES, stories::cut_off_from_one_database);
                }

                #[test]
                fn s10_a_minute_of_chaos() {
                    told(PAIR, &VARIABLES, stories::a_minute_of_chaos);
                }
            }
        }

        #[cfg(not(all(feature = "postgres", feature = $feature)))]
        #[test]
        fn $module() {
            println!("skipped: built without the features `{}` and `postgres`", $feature);
        }
    };
}

with_servers!(kafka_and_postgres, "kafka", Kafka, "KEYLANE_TEST_KAFKA");
with_servers!(rabbitmq_and_postgres, "rabbitmq", Rabbitmq, "KEYLANE_TEST_RABBITMQ");
