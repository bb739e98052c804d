//! The places between two steps where the tests let somebody else change the tree.

/// Marks such a place. Does nothing outside of the tests.
#[cfg(not(test))]
pub(super) fn checkpoint(_step: &'static str) {}

#[cfg(test)]
pub(super) use hooks::{at, checkpoint};

#[cfg(test)]
mod hooks {
    use std::cell::RefCell;

    type Hook = Box<dyn FnMut()>;

    thread_local! {
        static HOOKS: RefCell<Vec<(&'static str, Hook)>> = const { RefCell::new(Vec::new()) };
    }

    /// Runs `hook` the next time that this thread comes to `step`; a later hook on the same step the time after.
    pub(crate) fn at(step: &'static str, hook: impl FnMut() + 'static) {
        HOOKS.with_borrow_mut(|hooks| hooks.push((step, Box::new(hook))));
    }

    pub(crate) fn checkpoint(step: &'static str) {
        let hook = HOOKS.with_borrow_mut(|hooks| {
            let at = hooks.iter().position(|(name, _)| *name == step)?;
            Some(hooks.remove(at).1)
        });
        if let Some(mut hook) = hook {
            hook();
        }
    }
}
