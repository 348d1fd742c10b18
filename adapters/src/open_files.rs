//! How many connections a process may hold.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files, 1024 on most systems, to the hard one: a stream is a connection, and a run may
/// have more than a thousand. Where the system refuses, the connection that is one too many says so.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _refused = setrlimit(Resource::Nofile, raised).is_err();
}
