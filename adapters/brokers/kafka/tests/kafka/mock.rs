//! librdkafka's mock cluster as a server that can be taken away: it lives on a thread of its own, because
//! it can't be handed between threads.

use std::sync::mpsc::{Sender, channel};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

type Native = MockCluster<'static, DefaultProducerContext>;
type Deed = Box<dyn FnOnce(&Native) + Send>;

/// Ends with its last handle.
pub(crate) struct Mock {
    pub(crate) servers: String,
    deeds: Sender<Deed>,
}

impl Mock {
    pub(crate) fn start() -> Self {
        let (deeds, queue) = channel::<Deed>();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let cluster = Native::new(1).unwrap();
            tell.send(cluster.bootstrap_servers()).unwrap();
            while let Ok(deed) = queue.recv() {
                deed(&cluster);
            }
        });
        Self { servers: told.recv().unwrap(), deeds }
    }

    pub(crate) fn does<T: Send + 'static>(&self, deed: impl FnOnce(&Native) -> T + Send + 'static) -> T {
        let (tell, told) = channel();
        self.deeds.send(Box::new(move |cluster| tell.send(deed(cluster)).unwrap())).unwrap();
        told.recv().unwrap()
    }
}
