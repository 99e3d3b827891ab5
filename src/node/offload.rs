//! Work that the driver must not wait for: the store, reads for pushes, the witness, the host's hooks, the audit log.

pub mod audit_entry;
pub mod audit_log;
pub mod authenticator;
pub mod durable_work;
pub mod hook_runner;
pub mod identity_file;
pub mod identity_store;
pub mod pusher;
pub mod store_access;
pub mod store_executor;
pub mod tail;
pub mod validated_work;
pub mod witness_client;
