//! Files are looked into a few at a time.

use clap::Parser;
use parlance::config::Media;
use parlance::media::{Error, Kind, Rejection, Workshop};

use super::{file, limits, sample};

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    media: Media,
}

fn workshop(settings: &[&str]) -> Workshop {
    Workshop::new(&Settings::parse_from(["test"].iter().chain(settings)).media, limits().max_picture_bytes)
}

#[tokio::test]
async fn files_are_looked_into_beside_other_work() {
    let workshop = workshop(&[]);
    let portrait = sample("portrait.jpg");
    let (picture, voice) = (portrait.as_path(), sample("voice.webm"));
    let (picture, squares, voice) = tokio::join!(
        workshop.inspect(picture, "image/jpeg"),
        workshop.square(picture),
        workshop.inspect(&voice, "audio/webm")
    );
    assert_eq!((picture.unwrap().kind, squares.unwrap().len(), voice.unwrap().kind), (Kind::Image, 3, Kind::Audio));
    let empty = workshop.inspect(file(b"").path(), "image/png").await;
    assert!(matches!(empty, Err(Error::Rejected(Rejection::Empty))));
}

#[tokio::test]
async fn no_more_wait_than_may_wait() {
    let workshop = workshop(&["--media-workers", "1", "--media-queue", "1"]);
    let path = sample("portrait.jpg");
    let look = || workshop.inspect(&path, "image/jpeg");
    let (one, two, three) = tokio::join!(look(), look(), look());
    assert!(one.is_ok() && two.is_ok());
    assert!(matches!(three, Err(Error::Busy)), "{three:?}");
    assert!(look().await.is_ok(), "places come back");
}
