//! The plugin's own tests run here on the newer generation of the API alone: which one a connector
//! speaks makes no difference to the pipe before it.

/// As the plugin's own macro of this name.
macro_rules! on_wires {
    (
        $(both { $($both:ident),* $(,)? })?
        $(threaded { $($threaded:ident),* $(,)? })?
        $(only $generation:ident because $why:literal { $($single:ident),* $(,)? })*
    ) => {
        $($(mod $both {
            #[tokio::test]
            async fn confined() {
                super::$both(testkit::fake::Generation::V2).await;
            }
        })*)?
        $($(mod $threaded {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn confined() {
                super::$threaded(testkit::fake::Generation::V2).await;
            }
        })*)?
        $($(mod $single {
            #[tokio::test]
            async fn confined() {
                super::$single(testkit::fake::Generation::$generation).await;
            }
        })*)*
    };
}
pub(crate) use on_wires;
