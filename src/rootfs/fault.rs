//! Steps that tests leave out, to see that the last look finds it: see `verify`.

/// In builds with debug assertions, whether `ORLOP_SKIP` names this step; else no step is ever
/// left out.
pub(super) fn skips(step: impl FnOnce() -> String) -> bool {
    cfg!(debug_assertions) && std::env::var("ORLOP_SKIP").is_ok_and(|skip| skip == step())
}
