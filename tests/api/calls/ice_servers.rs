//! STUN and TURN: the servers and credentials that clients get. coturn from the Debian package checks the credentials.

use std::process::{Output, Stdio};

use chrono::{DateTime, TimeDelta, Utc};
use parlance::clock::Clock;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::{Node, PATIENCE, User, free_port};

const ICE_SERVERS: &str = "{ iceServers { urls username credential } }";
const SECRET: &str = "a secret that the TURN server shares";

async fn ice_servers(user: &User) -> Vec<Value> {
    user.query(ICE_SERVERS, json!({})).await["iceServers"].as_array().unwrap().clone()
}

/// Returns the username and the credential of the first server in the list.
async fn credentials(user: &User) -> (String, String) {
    let servers = ice_servers(user).await;
    let text = |name: &str| servers[0][name].as_str().unwrap().to_owned();
    (text("username"), text("credential"))
}

/// Parses a TURN username into its expiry time and its user id.
fn parsed(username: &str) -> (DateTime<Utc>, &str) {
    let (end, user) = username.split_once(':').unwrap();
    (DateTime::from_timestamp(end.parse().unwrap(), 0).unwrap(), user)
}

#[tokio::test]
async fn the_list_of_ice_servers_is_empty_by_default() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    assert_eq!(ice_servers(&ada).await, [json!(null); 0]);
}

#[tokio::test]
async fn stun_servers_have_no_credentials_and_turn_servers_have_credentials_for_each_user() {
    let node = Node::build()
        .flag("--stun-urls=stun:one.example:3478,stun:two.example")
        .flag("--turn-urls=turn:one.example:3478?transport=udp,turns:one.example:443?transport=tcp")
        .flag(&format!("--turn-secret={SECRET}"))
        .flag("--turn-ttl=600")
        .start_alone()
        .await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let before = Clock::system().now();
    let servers = ice_servers(&ada).await;
    assert_eq!(servers.len(), 2);
    let stun = json!({"urls": ["stun:one.example:3478", "stun:two.example"], "username": null, "credential": null});
    assert_eq!(servers[0], stun);
    let turn = &servers[1];
    assert_eq!(turn["urls"], json!(["turn:one.example:3478?transport=udp", "turns:one.example:443?transport=tcp"]));
    let (end, whose) = parsed(turn["username"].as_str().unwrap());
    assert_eq!(whose, ada.id);
    let ttl = end - before;
    assert!(ttl >= TimeDelta::seconds(599) && ttl <= TimeDelta::seconds(660), "{ttl}");
    let others = ice_servers(&bob).await;
    assert_eq!(parsed(others[1]["username"].as_str().unwrap()).1, bob.id);
    assert_ne!(others[1]["credential"], turn["credential"]);
}

#[tokio::test]
async fn ice_servers_require_a_signed_in_user() {
    let node = Node::build().flag("--stun-urls=stun:one.example").start_alone().await;
    let ada = node.register("ada").await;
    assert_eq!(node.call(None, ICE_SERVERS, json!({})).await.code(), "UNAUTHENTICATED");
    ada.query("mutation { logout { sessionId } }", json!({})).await;
    assert_eq!(ada.call(ICE_SERVERS, json!({})).await.code(), "UNAUTHENTICATED");
}

#[tokio::test]
async fn coturn_accepts_valid_credentials_and_refuses_expired_and_forged_ones() {
    let coturn = Coturn::start().await;
    let node = coturn.node(Clock::system()).await;
    let ada = node.register("ada").await;
    let (username, credential) = credentials(&ada).await;
    let output = coturn.relay(&username, &credential).await;
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("Total lost packets 0 "), "{}", text(&output));

    // Expired credentials, from a node whose clock is two hours behind.
    let late = coturn.node(Clock::off_by(TimeDelta::hours(-2))).await;
    let eve = late.register("eve").await;
    let (expired, of_expired) = credentials(&eve).await;
    // Forged credentials: a later expiry time, another user, and the credential of another username.
    let (end, whose) = parsed(&username);
    let longer = format!("{}:{whose}", end.timestamp() + 3600);
    let other = format!("{}:{}", end.timestamp(), eve.id);
    for (username, credential) in
        [(&expired, &of_expired), (&longer, &credential), (&other, &credential), (&username, &of_expired)]
    {
        let output = coturn.relay(username, credential).await;
        assert!(!output.status.success(), "{username}: {}", text(&output));
        assert!(text(&output).contains("Cannot complete Allocation"), "{}", text(&output));
    }
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}

/// A TURN server on the loopback interface.
struct Coturn {
    port: u16,
    _process: Child,
}

impl Coturn {
    async fn start() -> Self {
        let port = free_port();
        let mut command = Command::new("turnserver");
        command
            .args(["-n", "--use-auth-secret", "--realm=parlance.test", "--no-tls", "--no-dtls", "--no-cli"])
            .args(["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", "--allow-loopback-peers"])
            .args(["--verbose", "--log-file=stdout", "--simple-log", "--pidfile=/dev/null"])
            .args([format!("--static-auth-secret={SECRET}"), format!("--listening-port={port}")]);
        let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("turnserver from coturn");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains("UDP listener opened") {
                    return;
                }
            }
            panic!("turnserver has ended");
        };
        timeout(PATIENCE, listening).await.expect("turnserver listens");
        // Reads all further output, because turnserver blocks when its pipe is full.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { port, _process: process }
    }

    /// Starts a node that sends this TURN server to its clients.
    async fn node(&self, clock: Clock) -> Node {
        let url = format!("--turn-urls=turn:127.0.0.1:{}?transport=udp", self.port);
        Node::build().clock(clock).flag(&url).flag(&format!("--turn-secret={SECRET}")).start_alone().await
    }

    /// Runs a program with two clients that send each other a packet through the TURN server.
    async fn relay(&self, username: &str, credential: &str) -> Output {
        let mut command = Command::new("turnutils_uclient");
        command.args(["-y", "-c", "-n", "1", "-m", "1", "-u", username, "-w", credential]);
        let port = self.port.to_string();
        let output = command.args(["-p", &port, "127.0.0.1"]).stdin(Stdio::null()).kill_on_drop(true).output();
        timeout(PATIENCE, output).await.expect("turnutils_uclient ends").unwrap()
    }
}
