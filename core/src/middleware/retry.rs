//! Retry: what follows a failed try. Pure: configuration, failure and count in, verdict out.

use std::time::Duration;

use crate::handler::FailureClass;
use crate::store::Death;

/// A subscription's retry rule.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Tries of one event, the first included.
    pub attempts_max: u32,
    /// The bound of the first wait.
    pub delay: Duration,
    /// The bound of every wait.
    pub delay_max: Duration,
    /// What follows the last try.
    pub on_exhausted: OnExhausted,
    /// Deaths of a worker, while the event ran, after which it is dead (rule T1).
    pub crashes_max: u32,
}

/// What follows when an event can't be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExhausted {
    /// It becomes a dead letter; later events of its key go on.
    Skip,
    /// The subscription stops with the event unsettled.
    Stop,
}

/// What to do after a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again in the lane after this long.
    Again {
        /// How long.
        after: Duration,
        /// Whether this try used up an attempt.
        counts: bool,
    },
    /// A dead letter.
    Bury(Death),
    /// The subscription stops.
    Stop(Death),
}

impl RetryPolicy {
    /// The verdict on a failure of `class` when `attempts` counted tries of the event are over, this one
    /// included, and it has been turned away `refusals` times in a row by an unavailable dependency.
    /// `chance` in `0.0..1.0` is the jitter.
    #[must_use]
    pub fn decide(&self, class: FailureClass, attempts: u32, refusals: u32, chance: f64) -> Verdict {
        match class {
            FailureClass::Unavailable { after } => {
                Verdict::Again { after: self.wait(refusals.max(1), after, chance), counts: false }
            }
            FailureClass::Transient { after } if attempts < self.attempts_max => {
                Verdict::Again { after: self.wait(attempts, after, chance), counts: true }
            }
            FailureClass::Transient { .. } => self.end(Death::Exhausted),
            FailureClass::Permanent => self.end(Death::Rejected),
            FailureClass::Undecodable => self.end(Death::Undecodable),
        }
    }

    /// Exponential with full jitter: anything between nothing and the bound, so that events that
    /// failed together don't come back together. A delay the other side asked for is a lower bound.
    fn wait(&self, nth: u32, asked: Option<Duration>, chance: f64) -> Duration {
        let doubled = self.delay.saturating_mul(2u32.saturating_pow(nth.saturating_sub(1).min(30)));
        let jittered = doubled.min(self.delay_max).mul_f64(chance);
        jittered.max(asked.unwrap_or_default().min(ASKED_MAX))
    }

    fn end(&self, death: Death) -> Verdict {
        match self.on_exhausted {
            OnExhausted::Skip => Verdict::Bury(death),
            OnExhausted::Stop => Verdict::Stop(death),
        }
    }
}

/// No handler may ask for a longer wait in the lane.
const ASKED_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(on_exhausted: OnExhausted) -> RetryPolicy {
        RetryPolicy {
            attempts_max: 3,
            delay: Duration::from_millis(100),
            delay_max: Duration::from_millis(300),
            on_exhausted,
            crashes_max: 3,
        }
    }

    const PLAIN: FailureClass = FailureClass::Transient { after: None };

    #[test]
    fn verdicts() {
        let skip = policy(OnExhausted::Skip);
        let ms = Duration::from_millis;
        let again = |after, counts| Verdict::Again { after, counts };
        let asked = Some(ms(5000));
        for (class, attempts, refusals, chance, expected) in [
            (PLAIN, 1, 0, 0.5, again(ms(50), true)),
            (PLAIN, 2, 0, 0.5, again(ms(100), true)),
            (PLAIN, 2, 0, 0.0, again(ms(0), true)),
            (PLAIN, 3, 0, 0.5, Verdict::Bury(Death::Exhausted)),
            (FailureClass::Transient { after: asked }, 1, 0, 0.5, again(ms(5000), true)),
            (FailureClass::Unavailable { after: None }, 3, 9, 1.0, again(ms(300), false)),
            (FailureClass::Unavailable { after: asked }, 99, 1, 0.0, again(ms(5000), false)),
            (FailureClass::Permanent, 1, 0, 0.5, Verdict::Bury(Death::Rejected)),
            (FailureClass::Undecodable, 1, 0, 0.5, Verdict::Bury(Death::Undecodable)),
        ] {
            assert_eq!(skip.decide(class, attempts, refusals, chance), expected, "{class:?} {attempts}");
        }
        let stop = policy(OnExhausted::Stop);
        assert_eq!(stop.decide(FailureClass::Permanent, 1, 0, 0.5), Verdict::Stop(Death::Rejected));
        assert_eq!(stop.decide(PLAIN, 3, 0, 0.5), Verdict::Stop(Death::Exhausted));
    }

    #[test]
    fn a_wait_never_overflows() {
        let forever =
            RetryPolicy { attempts_max: u32::MAX, delay_max: Duration::MAX, ..policy(OnExhausted::Skip) };
        assert!(matches!(forever.decide(PLAIN, u32::MAX - 1, 0, 0.999), Verdict::Again { .. }));
    }
}
