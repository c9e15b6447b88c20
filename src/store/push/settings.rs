//! Notification settings of users.

use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable, SmallInt, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use crate::ids::UserId;
use crate::store::schema::notification_settings;
use crate::store::{Connection, text_enum};

text_enum!(
    /// What a notification shows of a message: the sender and the text, only the sender, or neither.
    NotificationContent { Full = "full", Sender = "sender", Nothing = "nothing" }
);

#[derive(Clone, Debug, PartialEq, Eq, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = notification_settings, check_for_backend(diesel::pg::Pg))]
pub struct NotificationSettings {
    pub content: NotificationContent,
    /// The quiet hours, in minutes since midnight. Both are None if there are none. If the first number is greater, the
    /// hours end on the next day.
    pub quiet_from: Option<i16>,
    pub quiet_to: Option<i16>,
    /// Time zone of the quiet hours, a name of the IANA database.
    pub time_zone: String,
    pub email_digests: bool,
}

impl Default for NotificationSettings {
    /// Returns the default values of the columns.
    fn default() -> Self {
        Self {
            content: NotificationContent::Full,
            quiet_from: None,
            quiet_to: None,
            time_zone: "UTC".to_owned(),
            email_digests: true,
        }
    }
}

/// Hours of each day without pushes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuietHours {
    /// The first minute, since midnight.
    pub from: i16,
    /// The first minute after the hours. It differs from `from`.
    pub to: i16,
    pub time_zone: String,
}

/// Changes of a user's settings. None leaves a setting unchanged, and `Some(None)` removes the quiet hours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsChanges {
    pub content: Option<NotificationContent>,
    pub quiet_hours: Option<Option<QuietHours>>,
    pub email_digests: Option<bool>,
}

/// Reads the settings of the user, or the defaults if the user has changed none.
pub async fn find(conn: &mut Connection, user: UserId) -> QueryResult<NotificationSettings> {
    let row = notification_settings::table.find(user).select(NotificationSettings::as_select());
    Ok(row.first(conn).await.optional()?.unwrap_or_default())
}

/// Stores the changes, and returns the new settings.
pub async fn update(
    conn: &mut Connection,
    user: UserId,
    changes: &SettingsChanges,
) -> QueryResult<NotificationSettings> {
    let hours = changes.quiet_hours.as_ref().and_then(Option::as_ref);
    diesel::sql_query(
        "INSERT INTO notification_settings AS stored
             (user_id, content, quiet_from, quiet_to, time_zone, email_digests)
         VALUES ($1, coalesce($2, 'full'), $4, $5, coalesce($6, 'UTC'), coalesce($7, true))
         ON CONFLICT (user_id) DO UPDATE
         SET content = coalesce($2, stored.content),
             quiet_from = CASE WHEN $3 THEN $4 ELSE stored.quiet_from END,
             quiet_to = CASE WHEN $3 THEN $5 ELSE stored.quiet_to END,
             time_zone = coalesce($6, stored.time_zone),
             email_digests = coalesce($7, stored.email_digests)
         RETURNING content, quiet_from, quiet_to, time_zone, email_digests",
    )
    .bind::<SqlUuid, _>(user)
    .bind::<Nullable<Text>, _>(changes.content)
    .bind::<Bool, _>(changes.quiet_hours.is_some())
    .bind::<Nullable<SmallInt>, _>(hours.map(|hours| hours.from))
    .bind::<Nullable<SmallInt>, _>(hours.map(|hours| hours.to))
    .bind::<Nullable<Text>, _>(hours.map(|hours| hours.time_zone.as_str()))
    .bind::<Nullable<Bool>, _>(changes.email_digests)
    .get_result(conn)
    .await
}

/// Whether Postgres knows a time zone with exactly this name.
pub async fn knows_time_zone(conn: &mut Connection, name: &str) -> QueryResult<bool> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Bool)]
        known: bool,
    }
    let query = diesel::sql_query("SELECT EXISTS (SELECT FROM pg_timezone_names WHERE name = $1) AS known");
    Ok(query.bind::<Text, _>(name).get_result::<Row>(conn).await?.known)
}
