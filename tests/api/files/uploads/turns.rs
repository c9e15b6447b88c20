//! The queue of the inspection serves users in turn.

use std::io;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::support::{Answer, Node, User, eventually, put};

/// A scanner that finds all files clean, but gives each answer only with a permit of the test.
struct Scanner {
    /// The setting with the address of the scanner.
    flag: String,
    /// Sizes of the files in bytes, in the order in which their scans began.
    sizes: Arc<Mutex<Vec<usize>>>,
    answers: Arc<Semaphore>,
}

impl Scanner {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let flag = format!("--clamd-address={}", listener.local_addr().unwrap());
        let (sizes, answers) = (Arc::<Mutex<Vec<usize>>>::default(), Arc::new(Semaphore::new(0)));
        let scanner = Self { flag, sizes: Arc::clone(&sizes), answers: Arc::clone(&answers) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(scan(stream, Arc::clone(&sizes), Arc::clone(&answers)));
            }
        });
        scanner
    }

    /// Waits until this number of scans have begun, and returns the sizes of their files.
    async fn begun(&self, scans: usize) -> Vec<usize> {
        let sizes = || self.sizes.lock().unwrap().clone();
        eventually(&format!("{scans} scans have begun"), async || sizes().len() == scans).await;
        sizes()
    }
}

/// Reads one file. Fails if the node disconnects.
async fn scan(mut stream: TcpStream, sizes: Arc<Mutex<Vec<usize>>>, answers: Arc<Semaphore>) -> io::Result<()> {
    stream.read_exact(&mut [0; 10]).await?;
    let mut size = 0;
    loop {
        let length = usize::try_from(stream.read_u32().await?).unwrap();
        if length == 0 {
            break;
        }
        stream.read_exact(&mut vec![0; length]).await?;
        size += length;
    }
    sizes.lock().unwrap().push(size);
    answers.acquire().await.unwrap().forget();
    stream.write_all(b"stream: OK\0").await
}

/// Creates uploads whose files are in S3 and that are not completed yet. Returns their ids.
async fn stored(user: &User, count: usize, text: &str) -> Vec<Value> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let begun = user.begin_upload("note.txt", "text/plain", text.len()).await;
        assert_eq!(put(&begun, text.as_bytes().to_vec()).await, 200);
        ids.push(begun["attachment"]["id"].clone());
    }
    ids
}

fn is_ready(answer: Answer) -> bool {
    answer.data()["completeUpload"]["attachment"]["state"] == "READY"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_many_uploads_delays_another_user_by_one_turn() {
    const MANY: usize = 20;
    let scanner = Scanner::start().await;
    let node = Node::build().flag("--media-workers=1").flag(&scanner.flag).start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let (many, one) = (stored(&ada, MANY, "many").await, stored(&bob, 1, "one").await);
    let load = || node.app.uploads().inspection_load();
    let mut flood: FuturesUnordered<_> = many.iter().map(|id| ada.complete_upload(id)).collect();
    tokio::select! {
        _ = flood.next() => panic!("a file is inspected before its scan"),
        () = eventually("all files but the scanned ones wait", async || load().0 + load().1 == MANY) => {}
    }
    let mut other = std::pin::pin!(bob.complete_upload(&one[0]));
    tokio::select! {
        _ = &mut other => panic!("a file is inspected before its scan"),
        () = eventually("the other user waits too", async || load().0 + load().1 == MANY + 1) => {}
    }
    // When two scans have ended, the next turn of each user has begun.
    let (inspecting, _) = load();
    scanner.begun(inspecting).await;
    scanner.answers.add_permits(2);
    let mut next = scanner.begun(inspecting + 2).await.split_off(inspecting);
    next.sort_unstable();
    assert_eq!(next, ["one".len(), "many".len()]);

    // When the client disconnects, its waiting inspections are dropped and the uploads stay PENDING.
    drop(flood);
    eventually("no file waits", async || load().1 == 0).await;
    scanner.answers.add_permits(MANY);
    assert!(is_ready(other.await));
    eventually("the inspections end", async || load() == (0, 0)).await;
    let mut states = Vec::new();
    for id in &many {
        states.push(ada.attachment(id).await["state"].clone());
    }
    assert!(states.contains(&Value::from("PENDING")), "{states:?}");
    let pending = many.iter().zip(&states).find(|(_, state)| *state == "PENDING").unwrap().0;
    assert!(is_ready(ada.complete_upload(pending).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_can_fill_only_a_share_of_the_inspection_queue() {
    const MANY: usize = 8;
    let scanner = Scanner::start().await;
    let flags = ["--media-workers=1", "--media-queue-share=1", &scanner.flag];
    let node = Node::build().flags(&flags).start_alone().await;
    let ada = node.register("ada").await;
    let many = stored(&ada, MANY, "many").await;
    let mut answers: FuturesUnordered<_> = many.iter().map(|id| ada.complete_upload(id)).collect();
    // Until the scanner answers, only refused files get an answer.
    let mut refused = vec![answers.next().await.unwrap()];
    scanner.answers.add_permits(MANY);
    while let Some(answer) = answers.next().await {
        if answer.body.get("errors").is_some() {
            refused.push(answer);
        } else {
            assert!(is_ready(answer));
        }
    }
    for answer in refused {
        assert_eq!(answer.code(), "RATE_LIMITED");
        assert_eq!(answer.body["errors"][0]["extensions"]["limit"], "MEDIA_QUEUE_SHARE");
    }
}
