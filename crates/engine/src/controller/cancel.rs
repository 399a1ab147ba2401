//! Stopping a query, with the reason.

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::convert::CancelReason;
use crate::fault::Fault;

/// Stops a query once; the first reason counts.
#[derive(Debug, Default)]
pub struct CancelHandle {
    token: CancellationToken,
    fault: Mutex<Option<Fault>>,
}

impl CancelHandle {
    /// Stops the query.
    pub fn cancel(&self, reason: CancelReason) {
        self.fail(Fault::canceled(reason));
    }

    /// Stops the query because of a fault that no task has raised.
    pub fn fail(&self, fault: Fault) {
        self.fault.lock().get_or_insert(fault);
        self.token.cancel();
    }

    /// Gives what tasks listen to.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Gives why the query was stopped, if it was.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_counts() {
        let handle = CancelHandle::default();
        assert!(handle.fault().is_none() && !handle.token().is_cancelled());
        handle.cancel(CancelReason::QueryTimeout);
        handle.cancel(CancelReason::TaskShutdown);
        let fault = handle.fault().expect("canceled");
        assert_eq!(fault.to_string(), "Canceled: Query timed out");
        assert!(handle.token().is_cancelled());
    }
}
