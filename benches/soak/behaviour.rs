//! How providers rotate their keys and fail.

use std::time::Duration;

use tokio::time::{Instant, interval, sleep};

use crate::provider::{Mode, Provider};

/// How long after it publishes a key the careful provider signs with it. More than `refresh.max`.
const LEAD: Duration = Duration::from_secs(8);

/// Publishes each key some time before it signs with it.
pub async fn rotates_carefully(provider: Provider, minute: Duration) {
    loop {
        sleep(minute.saturating_sub(LEAD)).await;
        provider.publish();
        sleep(LEAD).await;
        provider.sign_with_newest();
    }
}

/// Replaces its key, and signs with the new one at once.
pub async fn rotates_suddenly(provider: Provider, minute: Duration) {
    loop {
        sleep(minute * 2 / 3).await;
        provider.publish();
        provider.sign_with_newest();
        provider.withdraw_others();
    }
}

/// Fails in different ways, and rotates meanwhile.
pub async fn flaps(provider: Provider, minute: Duration) {
    let modes = [
        Mode::Answers,
        Mode::Unavailable,
        Mode::Answers,
        Mode::Breaks,
        Mode::Answers,
        Mode::Page,
    ];
    let mut modes = modes.into_iter().cycle();
    let (mut steps, mut rotated) = (interval(Duration::from_secs(3)), Instant::now());
    loop {
        steps.tick().await;
        provider.set_mode(modes.next().unwrap());
        if rotated.elapsed() > minute {
            provider.publish();
            provider.sign_with_newest();
            rotated = Instant::now();
        }
    }
}

/// Hangs most of the time, and rotates once while it does.
pub async fn hangs(provider: Provider, minute: Duration) {
    loop {
        provider.set_mode(Mode::Answers);
        sleep(minute / 3).await;
        provider.set_mode(Mode::Hangs);
        sleep(minute / 3).await;
        provider.publish();
        provider.sign_with_newest();
        sleep(minute / 3).await;
    }
}
