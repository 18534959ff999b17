//! What befalls the workers.

use std::time::Duration;

use super::{Stage, WORKERS_MAX, Worker};
use crate::focus::Fault;
use crate::history::Places;

impl Stage {
    /// One fault by chance, some time for it to show, and a replacement for every worker that is gone.
    pub(crate) fn disturb(&mut self, round: u64) {
        let running: Vec<&Worker> = self.workers.iter().filter(|worker| !worker.node.is_crashed()).collect();
        let chosen = usize::try_from(self.world.random(running.len() as u64)).unwrap_or(0);
        let newcomer = running.get(chosen).is_some_and(|worker| self.befall(worker, round));
        if newcomer && running.len() < WORKERS_MAX {
            self.worker();
        }
        // Long enough for a hand-over that nobody agrees to.
        let least = if newcomer { 6_000 } else { 0 };
        self.pass(Duration::from_millis(least + self.world.random(6_000)));
        self.thaw();
        if self.mix.releases {
            self.release_one();
        }
        self.replace_dead();
    }

    /// True when another worker is to join meanwhile.
    fn befall(&self, worker: &Worker, round: u64) -> bool {
        let (node, env) = (&worker.node, worker.node.env());
        let number = node.number();
        let time = Duration::from_millis(self.world.random(9_000));
        let what = match self.mix.focus.fault(round, &self.world) {
            // Where one event kills, every other death, and every lost session, would be its neighbours'.
            Fault::Crash | Fault::Freeze | Fault::NoStore | Fault::Mute | Fault::Late if self.mix.fatal => {
                return false;
            }
            Fault::Crash => {
                node.crash_after(1 + self.world.random(200));
                "crashes"
            }
            Fault::Freeze => {
                node.freeze();
                "freezes"
            }
            Fault::Calendar => {
                node.set_wall_forward(time);
                self.history.stirred(number);
                "has another wall time"
            }
            Fault::NoStore => {
                worker.to_store.cut(&env, time);
                "is cut off from its store"
            }
            Fault::NoBroker => {
                self.cut_off(worker, time);
                "is cut off from its broker"
            }
            Fault::Deaf => {
                self.cut_off(worker, Duration::from_secs(12));
                "is cut off from its broker, and another one joins"
            }
            Fault::Stop => {
                self.stop(number);
                "is asked to stop"
            }
            Fault::Mute => {
                worker.to_store.mute(&env, time);
                "gets no answer from its store"
            }
            Fault::Late => {
                self.answer_late(worker, time);
                "gets late answers from its store, then none"
            }
            Fault::Newcomer => "is to share with another one: it joins",
            Fault::Nothing => return false,
        };
        self.world.note(format_args!("node {number} {what}"));
        what.ends_with("joins")
    }

    fn cut_off(&self, worker: &Worker, time: Duration) {
        worker.to_broker.cut(&worker.node.env(), time);
        if let Places::Server(server) = &self.places {
            server.cut(worker.node.number());
        }
    }

    fn stop(&self, number: usize) {
        let handles = self.handles.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        handles.iter().filter(|(of, _)| *of == number).for_each(|(_, handle)| handle.shutdown());
    }

    fn answer_late(&self, worker: &Worker, time: Duration) {
        let env = worker.node.env();
        worker.to_store.slow(&env, time, Duration::from_millis(950));
        let (link, story, calm) = (worker.to_store.clone(), self.env.clone(), self.calm.clone());
        self.env.spawn("fault", async move {
            story.sleep(time).await;
            if !calm.is() {
                link.cut(&env, Duration::from_secs(5));
            }
        });
    }
}
