//! Memory of one worker that connections borrow while they are busy, so that idle ones need none.

use std::cell::RefCell;

/// Bytes that are read at once where little is expected.
const READ: usize = 16 * 1024;
/// Larger buffers are not kept.
const MOST_KEPT: usize = 64 * 1024;

thread_local! {
    static READING: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
    static WRITING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends the space that is read into. What is worth keeping is copied out.
pub(super) fn reading<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    READING.with_borrow_mut(|space| read(space))
}

/// A buffer to write from.
pub(super) fn take() -> Vec<u8> {
    WRITING.take()
}

/// Gives such a buffer back.
pub(super) fn give(mut buffer: Vec<u8>) {
    if (1..=MOST_KEPT).contains(&buffer.capacity()) {
        buffer.clear();
        WRITING.set(buffer);
    }
}
