//! Trying again, under the same transaction id, until it is done or cannot be.

use std::time::Duration;

use tokio::time::Instant;

use super::ApiError;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why a call was given up.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct GaveUp {
    /// The last error.
    #[source]
    pub error: ApiError,
    /// Whether one of the attempts may have had its effect.
    pub may_have_arrived: bool,
}

/// Calls until it is answered for good, with growing pauses and those the server names; gives up
/// when the next attempt would come after `deadline`. For calls alone that have the effect of one
/// however often they are made.
pub async fn persist<T, F: Future<Output = Result<T, ApiError>>>(
    deadline: Instant,
    mut call: impl FnMut() -> F,
) -> Result<T, GaveUp> {
    let mut may_have_arrived = false;
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match call().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        may_have_arrived |= !error.nothing_done();
        let wait = match &error {
            ApiError::Throttled { after } => *after,
            _ => pause,
        };
        if !error.is_passing() || Instant::now() + wait >= deadline {
            return Err(GaveUp { error, may_have_arrived });
        }
        tracing::debug!(%error, wait_ms = wait.as_millis(), "trying again");
        tokio::time::sleep(wait).await;
        if !matches!(error, ApiError::Throttled { .. }) {
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_obeyed_and_a_deadline_kept() {
        let begun = Instant::now();
        let throttled = || ApiError::Throttled { after: Duration::from_secs(7) };
        let mut answers = vec![Ok(1), Err(ApiError::TimedOut), Err(throttled())];
        let done = persist(begun + Duration::from_mins(1), || ready(answers.pop().unwrap())).await.unwrap();
        assert_eq!((done, begun.elapsed()), (1, Duration::from_secs(7) + FIRST_PAUSE));

        let begun = Instant::now();
        let given_up = persist(begun + Duration::from_secs(10), || ready(Err::<(), _>(throttled()))).await;
        assert!(!given_up.unwrap_err().may_have_arrived);
        assert_eq!(begun.elapsed(), Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_arrived_once_may_have_arrived() {
        let mut answers = vec![ApiError::TooLarge, ApiError::Server { status: 502 }];
        let deadline = Instant::now() + Duration::from_mins(1);
        let given_up = persist(deadline, || ready(Err::<(), _>(answers.pop().unwrap()))).await.unwrap_err();
        assert!(given_up.may_have_arrived && matches!(given_up.error, ApiError::TooLarge));
    }
}
