//! What follows from the list of kinds of durable work: the work, how it ends, and what all kinds have in common.

/// Makes [`Work`](super::Work) and [`Completion`](super::Completion) of one list. `Kind<C = Id> => End(Context)`: the job `Kind` has
/// a type parameter `C` for what it names by id, which is `Id` in the engine, and ends as `End` with its `Context` and its outcome.
macro_rules! kinds {
    ($($(#[$doc:meta])+ $kind:ident $(<$generic:ident = $id:ty>)? => $end:ident($($context:ty)?)),+ $(,)?) => {
        /// Durable work. Whole or not at all; a power cut in the middle leaves what was before. `C` is what a ticket stands for, `R` a
        /// frame of records and `P` a piece of a snapshot: the engine knows none of them but by its id.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Work<C = (), R = BulkId, P = BulkId> {
            $($(#[$doc])+ $kind(Order<$kind$(<$generic>)?>),)+
        }

        /// What became of a job, by its kind, with what the engine wants to know of the job.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Completion {
            $(#[doc = concat!("Of [`", stringify!($kind), "`].")] $end($($context,)? Outcome<$kind$(<$id>)?>),)+
        }

        impl Completed {
            /// Why it failed, if it did.
            pub fn failure(&self) -> Option<&DiskFailure> {
                match &self.completion {
                    $(Completion::$end(.., outcome) => outcome.as_ref().err(),)+
                }
            }
        }

        impl<C, R, P> Work<C, R, P> {
            /// The batch that it is.
            pub fn batch(&self) -> BatchId {
                match self {
                    $(Self::$kind(order) => order.batch,)+
                }
            }

            /// It could not be done; what is left of it says the failure.
            pub fn fail(self, failure: DiskFailure) -> Completed {
                match self {
                    $(Self::$kind(order) => order.fail(failure),)+
                }
            }
        }

        impl Work {
            /// The same work as this batch.
            pub(super) fn numbered(self, batch: BatchId) -> Self {
                match self {
                    $(Self::$kind(order) => Self::$kind(order.numbered(batch)),)+
                }
            }
        }

        $(impl From<$kind$(<$id>)?> for Work {
            /// The work that orders this job.
            fn from(job: $kind$(<$id>)?) -> Self {
                Self::$kind(Order::new(job))
            }
        })+
    };
}
