//! Each kind of durable work with its receipt.

use super::*;

impl Job for StoreState {
    type Receipt = ();
    type Context = StatePurpose;

    fn context(&self) -> StatePurpose {
        self.purpose
    }

    fn completion(purpose: StatePurpose, outcome: Outcome<Self>) -> Completion {
        Completion::StateStored(purpose, outcome)
    }
}

impl<C> Job for AppendGroup<C> {
    type Receipt = GroupReceipt;
    type Context = Vec<Ticket>;

    fn context(&self) -> Vec<Ticket> {
        self.change_sets.iter().map(|(ticket, _)| *ticket).collect()
    }

    fn completion(tickets: Vec<Ticket>, outcome: Outcome<Self>) -> Completion {
        Completion::GroupAppended(tickets, outcome)
    }
}

/// A kind whose end needs no more than its receipt.
macro_rules! job {
    ($job:ty $(, $generic:ident)? => $completion:ident, $receipt:ty) => {
        impl$(<$generic>)? Job for $job {
            type Receipt = $receipt;
            type Context = ();

            fn context(&self) {}

            fn completion((): (), outcome: Outcome<Self>) -> Completion {
                Completion::$completion(outcome)
            }
        }
    };
}

job!(BeginEra => EraBegun, EraReceipt);
job!(AppendRecords<R>, R => RecordsAppended, RecordsReceipt);
job!(BeginStaging => StagingBegun, StagedBefore);
job!(StagePieces<P>, P => PiecesStaged, PiecesReceipt);
job!(FinishStaging => StagingFinished, StagingReceipt);
job!(Quarantine => Quarantined, QuarantineReceipt);
job!(Reopen => Reopened, ReopenReceipt);
