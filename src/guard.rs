//! Turns panics of libraries that parse untrusted files into errors.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use anyhow::{Result, anyhow};

thread_local! {
    /// Whether [`guarded`] catches a panic on this thread. If so, the panic hook prints nothing.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs library code on an untrusted file. A panic becomes an ordinary error, without a backtrace
/// on stderr. Do not use anything that `work` modified after a panic.
///
/// # Errors
/// The error of `work`, or that `what` panicked, with its message.
pub fn guarded<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                others(panic);
            }
        }));
    });
    let before = GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(before);
    done.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text =
            text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        Err(anyhow!(
            "{what} is damaged and cannot be parsed ({text}); \
             download it again, or recreate it"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_that_holds_its_message() {
        let error =
            guarded("the file", || -> Result<()> { panic!("row {}", 7) }).expect_err("it panics");
        assert!(error.to_string().contains("row 7"));
        assert_eq!(guarded("the file", || Ok(1)).expect("nothing panics"), 1);
        assert!(!GUARDED.get());
    }
}
