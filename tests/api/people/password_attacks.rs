//! A password check is the costliest work that a client without an account can cause. Many password checks do not delay
//! other users, whether the clients wait for the responses or disconnect.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::{ALLOWANCE, Node, PASSWORD, Socket, User, eventually, eventually_within};

const REGISTER: &str = "mutation ($input: RegisterInput!) { register(input: $input) { accessToken } }";
const LOGIN: &str = "mutation ($input: LoginInput!) { login(input: $input) { accessToken } }";

/// Maximum time that another user's request may take during an attack.
const BOUND: Duration = Duration::from_millis(500).saturating_add(ALLOWANCE);
/// Maximum time until the password jobs of clients that have disconnected are dropped, and the running jobs end.
const DROPPED: Duration = Duration::from_secs(3).saturating_add(ALLOWANCE);

/// Returns a password of 128 characters that zxcvbn can interpret as letters in many ways. zxcvbn takes about a second
/// for the estimate.
fn hostile_password() -> String {
    "4@8({[<369!1|0$5+7%2".chars().cycle().take(128).collect()
}

/// Returns more registration requests than the threads and the queue share of one address accept.
fn registrations(name: impl Fn(usize) -> String) -> Vec<Value> {
    let one = |place: usize| {
        json!({"query": REGISTER, "variables": {"input": {
            "username": name(place), "password": hostile_password(),
        }}})
    };
    (0..30).map(one).collect()
}

/// Sends a request without reading the response. Returns the open connection.
async fn post_and_keep(address: SocketAddr, body: &Value) -> TcpStream {
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    stream
}

/// Returns a client whose requests come from 127.0.0.`last`.
fn client_at(last: u8) -> reqwest::Client {
    reqwest::Client::builder().local_address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))).build().unwrap()
}

async fn call_by(client: &reqwest::Client, node: &Node, query: &str, variables: Value) -> Value {
    let request = client.post(node.url("/graphql")).json(&json!({"query": query, "variables": variables}));
    request.send().await.unwrap().json().await.unwrap()
}

/// Waits until the password pool has no running and no waiting jobs.
async fn pool_is_idle(node: &Node, limit: Duration) {
    let is_idle = async || node.app.accounts().password_load() == (0, 0);
    eventually_within(limit, "the password jobs end", is_idle).await;
}

/// Waits until at least `count` password jobs are in the queue.
async fn jobs_wait(node: &Node, count: usize) {
    let what = format!("{count} password jobs are in the queue");
    eventually(&what, async || node.app.accounts().password_load().1 >= count).await;
}

/// Sends 20 messages, and returns the longest time that one of them took.
async fn longest_send(user: &User, conversation: &str) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        let begun = Instant::now();
        user.send(conversation, "hello").await;
        longest = longest.max(begun.elapsed());
        // The pause spreads the messages over the time of the attack.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    longest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_passwords_with_invalid_usernames_are_never_checked() {
    let node = Node::build().real_hashes().start_alone().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Calm", &[]).await;
    let hostile = registrations(|_| "!".to_owned());
    // The attack sends each registration twice: in a batch of ten, and in a separate request.
    let lists: Vec<Value> = hostile.chunks(10).map(|ten| ten.to_vec().into()).collect();
    let attack = join_all(lists.iter().chain(&hostile).map(|body| post_and_keep(node.address, body)));
    drop(attack.await);
    assert!(longest_send(&ada, &group).await < BOUND);
    assert_eq!(node.app.accounts().password_load(), (0, 0));

    let begun = Instant::now();
    let answer = node.call(
        None,
        REGISTER,
        json!({"input": {
            "username": "!", "password": "short", "email": "nowhere", "phone": "1",
        }}),
    );
    let answer = answer.await;
    assert_eq!(answer.violations(), ["username", "email", "phone", "password"]);
    assert!(begun.elapsed() < BOUND);
}

/// If the client of a registration disconnects while the registration waits for a thread, the registration is dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_registrations_are_dropped_when_the_client_disconnects() {
    let node = Node::build().real_hashes().flag("--password-threads=1").start_alone().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Calm", &[]).await;
    let registrations = registrations(|n| format!("eve.{n}"));
    let attack = join_all(registrations.iter().map(|one| post_and_keep(node.address, one))).await;
    jobs_wait(&node, 20).await;
    drop(attack);
    let (longest, ()) = tokio::join!(longest_send(&ada, &group), pool_is_idle(&node, DROPPED));
    assert!(longest < BOUND, "{longest:?}");
    assert!(registered(&ada, "eve").await < 10, "waiting registrations were executed");
}

/// Returns the number of users whose names begin with `name`.
async fn registered(user: &User, name: &str) -> usize {
    let query = "query ($name: String!) { searchUsers(query: $name, first: 100) { nodes { id } } }";
    user.query(query, json!({"name": name})).await["searchUsers"]["nodes"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transport_drops_the_work_of_a_client_that_disconnects() {
    // More than the queue must reach, because some logins finish while others arrive.
    const LOGINS: usize = 24;
    let node = Node::build().real_hashes().flag("--password-threads=1").start_alone().await;
    let eve = node.register("eve").await;
    let login = json!({"input": {"identifier": eve.username, "password": PASSWORD}});
    let request = json!({"query": LOGIN, "variables": login});
    let waits = || jobs_wait(&node, 10);
    let idle = || pool_is_idle(&node, DROPPED);

    // HTTP/2: the client resets the streams, and the connection stays open.
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let post = || client.post(node.url("/graphql")).json(&request).send();
    let streams = join_all((0..LOGINS).map(|_| post()));
    tokio::select! {
        _ = streams => panic!("the logins finished before the queue filled up"),
        () = waits() => {}
    }
    idle().await;
    assert_eq!(post().await.unwrap().version(), reqwest::Version::HTTP_2);

    // HTTP/2: the connection is closed.
    let streams = join_all((0..LOGINS).map(|_| post()));
    tokio::select! {
        _ = streams => panic!("the logins finished before the queue filled up"),
        () = waits() => {}
    }
    drop(client);
    idle().await;

    // Event stream: the connection is closed.
    let events = reqwest::Client::new();
    let events = join_all((0..LOGINS).map(|_| {
        events
            .post(node.url("/graphql"))
            .header("accept", "text/event-stream")
            .json(&request)
            .send()
            .map(Result::unwrap)
    }));
    let events = events.await;
    waits().await;
    drop(events);
    idle().await;

    // WebSocket: the client first completes the operations of an open socket, and then closes the socket.
    let mut socket = Socket::raw(&node.url("/graphql")).await;
    socket.send(json!({"type": "connection_init"})).await;
    socket.receive().await;
    for id in 0..LOGINS {
        socket.subscribe(&id.to_string(), LOGIN, login.clone()).await;
    }
    waits().await;
    for id in 0..LOGINS {
        socket.send(json!({"type": "complete", "id": id.to_string()})).await;
    }
    idle().await;
    for id in 0..LOGINS {
        socket.subscribe(&id.to_string(), LOGIN, login.clone()).await;
    }
    waits().await;
    drop(socket);
    idle().await;
}

/// A request gets RATE_LIMITED if the waiting passwords of its address already fill the share of the address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_is_limited_to_its_share_of_the_password_queue() {
    let node = Node::build().real_hashes().keep_shares();
    let node = node.flag("--password-threads=1").flag("--password-queue-share=3").start_alone().await;
    let ada = node.register("ada").await;
    let login = json!({"input": {"identifier": ada.username, "password": PASSWORD}});
    let answers = join_all((0..20).map(|_| node.call(None, LOGIN, login.clone()))).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.body.get("errors").is_some()).collect();
    assert!(!refused.is_empty());
    for answer in &refused {
        let extensions = &answer.body["errors"][0]["extensions"];
        let seen = (answer.code(), &extensions["limit"], &extensions["retryAfter"]);
        assert_eq!(seen, ("RATE_LIMITED", &json!("PASSWORD_QUEUE_SHARE"), &json!(1)));
    }
    assert!(answers.len() - refused.len() >= 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_floods_logins_delays_another_address_by_one_turn() {
    const FLOOD: usize = 200;
    let node = Node::build().real_hashes().keep_shares();
    let node = node.flag("--password-queue-share=200").flag("--password-queue=250").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let login = |user: &User| json!({"input": {"identifier": user.username, "password": PASSWORD}});
    let (floods, calm) = (client_at(1), client_at(2));
    // Opens the connection of the other address before the flood.
    call_by(&calm, &node, "{ __typename }", json!({})).await;
    let mut flood: FuturesUnordered<_> = (0..FLOOD).map(|_| call_by(&floods, &node, LOGIN, login(&ada))).collect();
    let mut finished = 0;
    // The futures of the flood must be polled during the wait, so that their requests are sent.
    let waits = async {
        tokio::select! {
            () = async { while flood.next().await.is_some() { finished += 1 } } => panic!("the flood ended too early"),
            () = jobs_wait(&node, FLOOD * 3 / 4) => {}
        }
    };
    waits.await;
    finished = 0;
    let answer = tokio::select! {
        () = async { while flood.next().await.is_some() { finished += 1 } } => panic!("the flood ended too early"),
        answer = call_by(&calm, &node, LOGIN, login(&bob)) => answer,
    };
    assert!(answer["data"]["login"]["accessToken"].is_string(), "{answer:#}");
    // Some logins of the flood finish while the request arrives. Without turns, all that wait would finish first.
    assert!(finished < FLOOD / 4, "{finished} logins of the flood finished first");
    drop(flood);
    drop(floods);
    pool_is_idle(&node, DROPPED).await;
}

/// The peak memory of the process depends on the number of threads, not on the number of waiting passwords.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_passwords_allocate_no_hash_memory() {
    const THREADS: u64 = 2;
    /// Memory in KiB that one hash uses by default.
    const HASH_KIB: u64 = 65_536;
    let node = Node::build().real_hashes().start_alone().await;
    let before = resident_kib();
    let registrations: Vec<_> = (0..7).flat_map(|place| registrations(|n| format!("eve.{place}.{n}"))).collect();
    let connections = join_all(registrations.iter().map(|one| post_and_keep(node.address, one))).await;
    let begun = Instant::now();
    let mut peak = 0;
    while begun.elapsed() < Duration::from_secs(1) {
        peak = peak.max(resident_kib());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(connections);
    pool_is_idle(&node, DROPPED).await;
    let grown = peak.saturating_sub(before);
    assert!(grown < (THREADS + 1) * HASH_KIB, "{} MiB more", grown / 1024);
}

/// Returns the resident memory of this process in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

/// hyper does not notice a disconnect while a second pipelined request of the client waits. The jobs of such a client
/// are completed, but the share of the address limits their number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_do_not_block_a_node() {
    let node = Node::build().real_hashes().keep_shares().start_alone().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Calm", &[]).await;
    let mut connections = Vec::new();
    for one in registrations(|n| format!("eve.{n}")) {
        let mut stream = post_and_keep(node.address, &one).await;
        stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        connections.push(stream);
    }
    drop(connections);
    assert!(longest_send(&ada, &group).await < BOUND);
    pool_is_idle(&node, Duration::from_mins(1)).await;
}
