//! The worker pool that inspects files, and the bounds of its queue.

use clap::Parser;
use parlance::clock::Clock;
use parlance::config::Media;
use parlance::fair::{Gone, Refusal};
use parlance::ids::UserId;
use parlance::media::{Error, Kind, MediaPool, Rejection};
use parlance::random::Random;

use super::{file, limits, sample};

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    media: Media,
}

fn somebody() -> UserId {
    UserId::new(Clock::system().now(), &Random::system())
}

fn pool(settings: &[&str]) -> MediaPool {
    MediaPool::new(&Settings::parse_from(["test"].iter().chain(settings)).media, limits().max_picture_bytes)
}

#[tokio::test]
async fn files_are_inspected_concurrently() {
    let pool = pool(&[]);
    let portrait = sample("portrait.jpg");
    let (picture, voice) = (portrait.as_path(), sample("voice.webm"));
    let (user, gone) = (somebody(), Gone::default());
    let user = (user, &gone);
    let (picture, squares, voice) = tokio::join!(
        pool.inspect(picture, "image/jpeg", user),
        pool.square(picture, user),
        pool.inspect(&voice, "audio/webm", user)
    );
    assert_eq!((picture.unwrap().kind, squares.unwrap().len(), voice.unwrap().kind), (Kind::Image, 3, Kind::Audio));
    let empty = pool.inspect(file(b"").path(), "image/png", user).await;
    assert!(matches!(empty, Err(Error::Rejected(Rejection::Empty))));
}

#[tokio::test]
async fn inspections_above_the_queue_limits_are_refused() {
    let pool = pool(&["--media-workers", "1", "--media-queue", "2", "--media-queue-share", "1"]);
    let path = sample("portrait.jpg");
    let (ada, bob, eve) = (somebody(), somebody(), somebody());
    let gone = Gone::default();
    let inspect = |user| pool.inspect(&path, "image/jpeg", (user, &gone));
    let (one, two, three, four, five) =
        tokio::join!(inspect(ada), inspect(ada), inspect(ada), inspect(bob), inspect(eve));
    assert!(one.is_ok() && two.is_ok() && four.is_ok());
    assert!(matches!(three, Err(Error::Refused(Refusal::ShareFull))), "{three:?}");
    assert!(matches!(five, Err(Error::Refused(Refusal::QueueFull))), "{five:?}");
    assert!(inspect(ada).await.is_ok(), "a finished inspection frees its place in the queue");
}

#[tokio::test]
async fn a_file_of_a_disconnected_client_is_not_inspected() {
    let pool = pool(&["--media-workers", "1"]);
    let path = sample("portrait.jpg");
    let (gone, guard) = Gone::on_drop();
    drop(guard);
    let inspect = pool.inspect(&path, "image/jpeg", (somebody(), &gone)).await;
    assert!(matches!(inspect, Err(Error::Refused(Refusal::Gone))), "{inspect:?}");
}
