//! Privacy settings: what users let others see and do.

use diesel::prelude::*;
use diesel::sql_types::{Array, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::privacy_settings::Audience;
use super::users::User;
use crate::ids::UserId;
use crate::store::Connection;
use crate::store::schema::users;

/// Changes of the settings. None leaves a column unchanged.
#[derive(Debug, Default, PartialEq, Eq, AsChangeset)]
#[diesel(table_name = users)]
pub struct PrivacyChanges {
    pub last_seen: Option<Audience>,
    pub read_receipts: Option<bool>,
    pub group_adds: Option<Audience>,
    pub discoverable_by_contact_point: Option<Audience>,
}

/// A privacy setting whose value is an audience.
#[derive(Clone, Copy, Debug)]
pub enum Setting {
    LastSeen,
    GroupAdds,
}

pub async fn update(conn: &mut Connection, id: UserId, changes: &PrivacyChanges) -> QueryResult<User> {
    diesel::update(users::table.find(id)).set(changes).returning(User::as_returning()).get_result(conn).await
}

/// Returns the pairs in which the setting of the second user permits the first user. A block by either user overrides
/// every setting. A pair that contains the same user twice is always permitted.
pub async fn permitted_pairs(
    mut conn: &Connection,
    setting: Setting,
    pairs: &[(UserId, UserId)],
) -> QueryResult<Vec<(UserId, UserId)>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        by_id: UserId,
        #[diesel(sql_type = SqlUuid)]
        user_id: UserId,
    }
    let column = match setting {
        Setting::LastSeen => "last_seen",
        Setting::GroupAdds => "group_adds",
    };
    let (by, users): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    let rows: Vec<Row> = diesel::sql_query(format!(
        "SELECT by_id, user_id FROM unnest($1, $2) AS wanted (by_id, user_id) JOIN users ON users.id = user_id
         WHERE user_id = by_id OR (
             ({column} = 'EVERYONE' OR {column} = 'CONTACTS' AND EXISTS (
                 SELECT FROM contacts WHERE contacts.user_id = wanted.user_id AND contact_id = by_id
             ))
             AND NOT EXISTS (SELECT FROM blocks WHERE blocker_id = wanted.user_id AND blocked_id = by_id)
             AND NOT EXISTS (SELECT FROM blocks WHERE blocker_id = by_id AND blocked_id = wanted.user_id)
         )"
    ))
    .bind::<Array<SqlUuid>, _>(by)
    .bind::<Array<SqlUuid>, _>(users)
    .load(&mut conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.by_id, row.user_id)).collect())
}
