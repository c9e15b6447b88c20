//! Creates thousands of accounts: registers one account, copies its rows in SQL, and signs access tokens for the copies
//! with the server's secret.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use diesel::QueryableByName;
use diesel::sql_types::Uuid;
use diesel_async::RunQueryDsl as _;
use jsonwebtoken::{EncodingKey, Header, encode};
use parlance::clock::Clock;
use parlance::ids::{SessionId, UserId};
use parlance_load::client::{Account, Client};
use parlance_load::server::JWT_SECRET;
use serde_json::json;

use super::database;

/// Lifetime of the access tokens, longer than any measurement.
const TOKEN_LIFETIME: Duration = Duration::from_hours(24);

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Uuid)]
    user_id: UserId,
    #[diesel(sql_type = Uuid)]
    session_id: SessionId,
}

/// Creates `count` accounts. The name of each account is `prefix` and a number.
pub(super) async fn make(url: &str, address: SocketAddr, prefix: &str, count: u32) -> Result<Vec<Account>> {
    Client::connect(address).await?.register(prefix).await?;
    let user = "jsonb_build_object('id', ids.user_id, 'username', ids.username, 'email', NULL, 'phone', NULL)";
    let users = database::copies(url, "users", user, "original_user original, ids").await?;
    let session = "jsonb_build_object('id', ids.session_id, 'user_id', ids.user_id)";
    let sessions = database::copies(url, "sessions", session, "original_session original, ids").await?;
    let statement = format!(
        "WITH original_user AS (SELECT * FROM users WHERE username = '{prefix}'),
              original_session AS (SELECT * FROM sessions WHERE user_id = (SELECT id FROM original_user)),
              ids AS MATERIALIZED (SELECT gen_random_uuid() AS user_id, gen_random_uuid() AS session_id,
                                          '{prefix}' || place AS username FROM generate_series(1, {count}) place),
              made_users AS ({users}),
              made_sessions AS ({sessions})
         SELECT user_id, session_id FROM ids"
    );
    let rows: Vec<Row> = diesel::sql_query(statement).load(&mut database::connect(url).await?).await?;
    rows.iter().map(account).collect()
}

fn account(row: &Row) -> Result<Account> {
    let now = Clock::system().now();
    let claims = json!({
        "iss": "parlance",
        "sub": row.user_id.to_string(),
        "sid": row.session_id.to_string(),
        "iat": now.timestamp(),
        "exp": (now + TOKEN_LIFETIME).timestamp(),
    });
    let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(JWT_SECRET.as_bytes()))?;
    Ok(Account { id: row.user_id.to_string().into(), token: token.into() })
}
