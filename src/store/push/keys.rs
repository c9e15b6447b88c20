//! The key with which all nodes sign their requests to push services.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use crate::store::Connection;
use crate::store::schema::push_keys;

/// Returns the scalar of the private key. None if no node has stored a key yet.
pub async fn find(conn: &mut Connection) -> QueryResult<Option<Vec<u8>>> {
    push_keys::table.select(push_keys::vapid_private_key).first(conn).await.optional()
}

/// Stores the scalar of a private key, unless another node has stored one. Returns the stored scalar.
pub async fn insert(conn: &mut Connection, private_key: &[u8]) -> QueryResult<Vec<u8>> {
    diesel::insert_into(push_keys::table)
        .values(push_keys::vapid_private_key.eq(private_key))
        .on_conflict_do_nothing()
        .execute(conn)
        .await?;
    push_keys::table.select(push_keys::vapid_private_key).first(conn).await
}
