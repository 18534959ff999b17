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
