//! Passwords that keyboards send in different Unicode forms.

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl as _;
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Answer, Node, PASSWORD, TestDatabase, User};

/// Passwords in NFC, each with another form in which a keyboard may send it.
const FORMS: [(&str, &str); 5] = [
    ("Zürich café ümläut 9", "Zu\u{308}rich cafe\u{301} u\u{308}mla\u{308}ut 9"),
    ("mật khẩu của tôi", "ma\u{323}\u{302}t kha\u{302}\u{309}u cu\u{309}a to\u{302}i"),
    ("비밀번호 가나다", "비밀번호 \u{1100}\u{1161}\u{1102}\u{1161}\u{1103}\u{1161}"),
    ("ガラスの仮面 42", "カ\u{3099}ラスの仮面\u{3000}42"),
    ("\u{C5}ngström lacht laut", "\u{212B}ngstro\u{308}m\u{A0}lacht\u{2003}laut"),
];

async fn login(node: &Node, username: &str, password: &str) -> Answer {
    let query = "mutation ($input: LoginInput!) { login(input: $input) { accessToken } }";
    node.call(None, query, json!({"input": {"identifier": username, "password": password}})).await
}

async fn hash_of(database: &TestDatabase, username: &str) -> String {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        password_hash: String,
    }
    let query = format!("SELECT password_hash FROM users WHERE username = '{username}'");
    let row: Row = diesel::sql_query(query).get_result(&mut database.connection().await).await.unwrap();
    row.password_hash
}

/// Stores the hash of exactly these bytes, as servers did that did not convert passwords.
async fn store_old_hash(database: &TestDatabase, username: &str, password: &str) -> String {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    let hash = argon2.hash_password_with_salt(password.as_bytes(), b"a salt of a test").unwrap().to_string();
    let update = format!("UPDATE users SET password_hash = '{hash}' WHERE username = '{username}'");
    diesel::sql_query(update).execute(&mut database.connection().await).await.unwrap();
    hash
}

#[tokio::test]
async fn a_password_is_right_in_every_unicode_form() {
    let node = Node::start().await;
    for (place, (composed, other)) in FORMS.into_iter().enumerate() {
        for (turn, (registered, sent)) in [(composed, other), (other, composed)].into_iter().enumerate() {
            let user = User::register(&node, &format!("user_{place}_{turn}"), registered).await;
            for password in [sent, registered] {
                login(&node, &user.username, password).await.data();
            }
            for wrong in [format!("{composed} "), composed.replace(' ', "")] {
                assert_eq!(login(&node, &user.username, &wrong).await.code(), "UNAUTHENTICATED", "{wrong}");
            }
        }
    }
}

#[tokio::test]
async fn the_current_password_is_right_in_every_unicode_form() {
    let node = Node::start().await;
    let (composed, other) = FORMS[0];
    let ada = User::register(&node, "ada", composed).await;
    let query = "mutation ($input: ChangePasswordInput!) { changePassword(input: $input) { viewer { id } } }";
    let input = json!({"currentPassword": other, "newPassword": FORMS[1].1});
    ada.call(query, json!({"input": input})).await.data();
    login(&node, "ada", FORMS[1].0).await.data();
    ada.delete_account(Some(FORMS[1].1)).await.data();
}

#[tokio::test]
async fn old_hashes_of_any_form_are_renewed_at_login() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (composed, other) = FORMS[0];
    for (hashed, first) in [(other, other), (other, composed), (composed, other), (composed, composed)] {
        let user = node.register("ada").await;
        let old = store_old_hash(&database, &user.username, hashed).await;
        assert_eq!(login(&node, &user.username, "quite another password").await.code(), "UNAUTHENTICATED");
        assert_eq!(hash_of(&database, &user.username).await, old);
        login(&node, &user.username, first).await.data();
        let renewed = hash_of(&database, &user.username).await;
        // Also the hash of the composed form is renewed, because its parameters are not those of the settings.
        assert_ne!(renewed, old);
        for password in [composed, other] {
            login(&node, &user.username, password).await.data();
        }
        assert_eq!(hash_of(&database, &user.username).await, renewed);
    }
}

#[tokio::test]
async fn a_hash_with_other_parameters_is_renewed_at_login() {
    let database = TestDatabase::new().await;
    let (weak, settings) = (Node::build().start_on(&database).await, ["--password-passes=3"]);
    let user = weak.register("ada").await;
    let old = hash_of(&database, &user.username).await;
    assert!(old.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{old}");
    // A login with the present parameters renews nothing.
    login(&weak, &user.username, PASSWORD).await.data();
    assert_eq!(hash_of(&database, &user.username).await, old);
    let strong = Node::build().real_hashes().flags(&settings).start_on(&database).await;
    assert_eq!(login(&strong, &user.username, "quite another password").await.code(), "UNAUTHENTICATED");
    assert_eq!(hash_of(&database, &user.username).await, old);
    login(&strong, &user.username, PASSWORD).await.data();
    let renewed = hash_of(&database, &user.username).await;
    assert!(renewed.starts_with("$argon2id$v=19$m=") && renewed.contains(",t=3,p=1$"), "{renewed}");
    login(&strong, &user.username, PASSWORD).await.data();
    assert_eq!(hash_of(&database, &user.username).await, renewed);
    assert_eq!(login(&strong, &user.username, "quite another password").await.code(), "UNAUTHENTICATED");
}

#[tokio::test]
async fn common_passwords_are_refused_in_every_form() {
    let node = Node::start().await;
    let query = "mutation ($input: RegisterInput!) { register(input: $input) { accessToken } }";
    // zxcvbn takes these for strong passwords.
    for password in
        ["telechargement", "Télécharge\u{301}ment", "ICHLIEBEDICH!!", "ｉｃｈｌｉｅｂｅｄｉｃｈ", "yfdbufnjh10305070"]
    {
        let answer = node.call(None, query, json!({"input": {"username": "ada", "password": password}})).await;
        assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["password"]), "{password}");
        let message = answer.body["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains("too easy to guess"), "{message}");
    }
}

#[tokio::test]
async fn concurrent_logins_with_an_old_hash_all_succeed() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let user = node.register("ada").await;
    let (_, decomposed) = FORMS[0];
    store_old_hash(&database, &user.username, decomposed).await;
    for answer in join_all((0..4).map(|_| login(&node, &user.username, decomposed))).await {
        answer.data();
    }
}

#[tokio::test]
async fn the_length_of_a_password_counts_its_composed_characters() {
    let node = Node::start().await;
    let query = "mutation ($input: RegisterInput!) { register(input: $input) { accessToken } }";
    let register = async |username: &str, password: &str| {
        node.call(None, query, json!({"input": {"username": username, "password": password}})).await
    };
    let start = "xylophone quartz vexes fjords";
    let decomposed = |length: usize| format!("{start}{}", "o\u{308}".repeat(length - start.len()));
    register("fits", &decomposed(128)).await.data();
    assert_eq!(register("long", &decomposed(129)).await.violations(), ["password"]);
    for password in
        ["e\u{301}u\u{308}o\u{302}a\u{300}xq", "tab\tin the password", "line\nin the password", "nul\0in the password"]
    {
        let answer = register("bad", password).await;
        assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["password"]), "{password:?}");
    }
    let huge = "e\u{301}".repeat(10_000);
    assert_eq!(register("huge", &huge).await.violations(), ["password"]);
}
