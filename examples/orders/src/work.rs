//! The work: runtime, producer and progress beside each other, until all is done or somebody asks to stop.

use std::sync::Arc;

use keylane::{Error, ErrorKind, Handle};

use crate::args::{Args, Role};
use crate::service::Service;
use crate::trace::Trace;
use crate::{progress, publish};

/// How the work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All is done.
    Done,
    /// Somebody asked to stop; there is more to do.
    Asked,
}

pub(crate) async fn work(service: &Service, args: &Args) -> Result<Ended, Error> {
    let trace = Trace::to(args.trace.as_deref()).map_err(|error| {
        Error::new(ErrorKind::Config, "could not open the file that --trace names").with_source(error)
    })?;
    let trace = Arc::new(trace);
    let runtime = service.runtime(trace.clone()).start().await?;
    let producer = async {
        match args.role {
            Role::All => publish::publish(service, args.pace).await,
            _ => Ok(()),
        }
    };
    let all = async { tokio::try_join!(producer, progress::watch(service, &trace, args.quiet)) };
    // Biased: a runtime that can't go on says why, whatever else happens.
    let ended = tokio::select! { biased;
        ended = runtime.join() => {
            ended?;
            return Err(Error::new(ErrorKind::Closed, "the runtime ended before all was done"));
        }
        () = service.env.stop_signal() => Ended::Asked,
        done = all => {
            done?;
            Ended::Done
        }
    };
    drain(service, runtime).await?;
    Ok(ended)
}

/// Lets what has begun come to its end. A second signal does not wait for that.
async fn drain(service: &Service, runtime: Handle) -> Result<(), Error> {
    runtime.shutdown();
    tokio::select! { biased;
        ended = runtime.join() => ended,
        () = service.env.stop_signal() => {
            Err(Error::new(ErrorKind::Closed, "ended by a second signal before the drain was over"))
        }
    }
}
