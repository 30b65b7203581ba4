//! TCP below any protocol: accepting, streams whose first bytes were looked at, and copying. No decisions.

mod accept;
mod copy;
mod stream;

pub use accept::{Accepting, Admission, accept};
pub use copy::{Copied, Ended, Scratch, copy};
pub use stream::{Abort, Rewound, tune};
