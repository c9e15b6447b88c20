//! The page at `/`, which links to the other pages of the server.

use std::collections::BTreeSet;

use crate::support::Node;
use crate::support::http::header;

async fn page(node: &Node) -> String {
    node.http.get(node.url("/")).send().await.unwrap().text().await.unwrap()
}

/// Returns the addresses on this server to which the page links.
fn links(page: &str) -> BTreeSet<&str> {
    page.split("href=\"/").skip(1).filter_map(|text| Some(text.split_once('"')?.0)).collect()
}

#[tokio::test]
async fn the_start_page_is_static_and_loads_nothing_from_elsewhere() {
    let node = Node::start().await;
    let response = node.http.get(node.url("/")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "content-type"), "text/html; charset=utf-8");
    assert!(header(&response, "content-security-policy").starts_with("default-src 'none'; script-src 'self'"));
    assert_eq!(header(&response, "x-content-type-options"), "nosniff");
    let text = response.text().await.unwrap();
    assert!(!text.contains("<script") && !text.contains("://"), "{text}");
    assert!(!text.contains("<!--"), "the marks of the blocks are removed: {text}");
}

#[tokio::test]
async fn each_link_of_the_start_page_works() {
    let node = Node::build().flags(&["--explorers=true", "--metrics=true", "--introspection=true"]).start_alone().await;
    let text = page(&node).await;
    let expected =
        ["graphiql", "playground", "schema.graphql", ".well-known/jwks.json", "health/ready", "health/live", "metrics"];
    assert_eq!(links(&text), BTreeSet::from(expected));
    for link in links(&text) {
        let response = node.http.get(node.url(&format!("/{link}"))).send().await.unwrap();
        // The explorers are missing in a build without their files.
        assert!(response.status() == 200 || ["graphiql", "playground"].contains(&link), "{link}");
    }
}

#[tokio::test]
async fn the_start_page_links_only_to_what_the_server_serves() {
    for (flag, gone) in [
        ("--explorers=false", &["graphiql", "playground"][..]),
        ("--metrics=false", &["metrics"][..]),
        ("--introspection=false", &["schema.graphql"][..]),
    ] {
        let node = Node::build().flag(flag).start_alone().await;
        let text = page(&node).await;
        for link in gone {
            assert!(!links(&text).contains(link), "{flag} {link}");
            let status = node.http.get(node.url(&format!("/{link}"))).send().await.unwrap().status();
            assert_eq!(status, 404, "{flag} {link}");
        }
        assert_eq!(links(&text).len(), 7 - gone.len(), "{flag}");
        assert!(!text.contains("<!--"), "{flag}");
    }
}

#[tokio::test]
async fn the_schema_is_served_as_text() {
    let node = Node::start().await;
    let response = node.http.get(node.url("/schema.graphql")).send().await.unwrap();
    assert_eq!(header(&response, "content-type"), "text/plain; charset=utf-8");
    assert_eq!(response.text().await.unwrap(), include_str!("../../schema.graphql"));
}
