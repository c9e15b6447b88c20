//! Notification settings of the viewer: what a notification shows, hours without notifications, and e-mail digests.

use async_graphql::{Context, Enum, InputObject, MaybeUndefined, Object, SimpleObject};

use crate::domain::push::notification_settings::{NewQuietHours, NewSettings};
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::store::conversations::participants::NotificationLevel as LevelRow;
use crate::store::push::settings::{NotificationContent as ContentRow, NotificationSettings as Row};

/// The messages of a conversation that notify the viewer.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "LevelRow")]
pub enum NotificationLevel {
    /// All messages.
    All,
    /// Only messages that mention the viewer by `@username` or `@all`.
    Mentions,
    /// No messages. Calls still ring.
    Nothing,
}

/// What a push notification shows of a message.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "ContentRow")]
pub enum NotificationContent {
    /// The sender, the group and the beginning of the message.
    Full,
    /// The sender and the group.
    Sender,
    /// Only that there is a new message.
    Nothing,
}

/// Hours of each day in which the viewer gets no push notifications.
#[derive(SimpleObject)]
pub struct QuietHours {
    /// Time of day at which the hours begin, such as 22:00.
    from: String,
    /// Time of day at which the hours end, such as 07:00. If it is before `from`, the hours end on the next day.
    to: String,
    /// Time zone of both times, as a name of the IANA database such as Europe/Berlin.
    time_zone: String,
}

/// Settings of the viewer's notifications, which apply to all devices. `Membership` has further settings for each
/// conversation.
#[derive(SimpleObject)]
pub struct NotificationSettings {
    /// What a push notification shows of a message. The operator of the server can set a maximum. If this value is
    /// above the maximum, the maximum applies.
    content: NotificationContent,
    /// Hours of each day without push notifications. Null if there are none.
    quiet_hours: Option<QuietHours>,
    /// Whether the server sends digests of unread messages to the verified e-mail address of the viewer. The value has
    /// no effect if the operator has not turned digests on.
    email_digests: bool,
}

impl From<Row> for NotificationSettings {
    fn from(row: Row) -> Self {
        let quiet_hours = row.quiet_from.zip(row.quiet_to).map(|(from, to)| QuietHours {
            from: time_of_day(from),
            to: time_of_day(to),
            time_zone: row.time_zone,
        });
        Self { content: row.content.into(), quiet_hours, email_digests: row.email_digests }
    }
}

/// Writes minutes since midnight as a time of day, such as 22:00.
fn time_of_day(minutes: i16) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

/// New hours of each day in which the viewer gets no push notifications.
#[derive(InputObject)]
pub struct QuietHoursInput {
    /// Time of day at which the hours begin: two digits for the hour, a colon and two digits for the minute, such as
    /// 22:00.
    from: String,
    /// Time of day at which the hours end, such as 07:00. If it is before `from`, the hours end on the next day. It
    /// must not be equal to `from`.
    to: String,
    /// Time zone of both times, as a name of the IANA database such as Europe/Berlin.
    time_zone: String,
}

/// Input of the `updateNotificationSettings` mutation. Omitted fields are unchanged.
#[derive(InputObject)]
pub struct UpdateNotificationSettingsInput {
    /// What a push notification shows of a message. Null leaves the setting unchanged.
    content: Option<NotificationContent>,
    /// Hours of each day without push notifications. Null removes the hours.
    quiet_hours: MaybeUndefined<QuietHoursInput>,
    /// Whether the server sends digests of unread messages by e-mail. Null leaves the setting unchanged.
    email_digests: Option<bool>,
}

/// Result of the `updateNotificationSettings` mutation.
#[derive(SimpleObject)]
pub struct UpdateNotificationSettingsPayload {
    /// The new settings.
    notification_settings: NotificationSettings,
}

#[derive(Default)]
pub struct NotificationSettingsMutation;

#[Object]
impl NotificationSettingsMutation {
    /// Changes the viewer's notification settings. Errors: BAD_USER_INPUT if a time of day is malformed, if both times
    /// are equal, or if the time zone is unknown.
    async fn update_notification_settings(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The settings to change.")] input: UpdateNotificationSettingsInput,
    ) -> Result<UpdateNotificationSettingsPayload> {
        let row = ctx.app().notification_settings().update(ctx.viewer()?, input.into()).await?;
        Ok(UpdateNotificationSettingsPayload { notification_settings: row.into() })
    }
}

impl From<UpdateNotificationSettingsInput> for NewSettings {
    fn from(input: UpdateNotificationSettingsInput) -> Self {
        let quiet_hours = match input.quiet_hours {
            MaybeUndefined::Undefined => None,
            MaybeUndefined::Null => Some(None),
            MaybeUndefined::Value(QuietHoursInput { from, to, time_zone }) => {
                Some(Some(NewQuietHours { from, to, time_zone }))
            }
        };
        Self { content: input.content.map(Into::into), quiet_hours, email_digests: input.email_digests }
    }
}
