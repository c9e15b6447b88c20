//! Notification settings of users: what a notification shows, quiet hours, and e-mail digests.

use std::sync::Arc;

use super::core::PushCore;
use crate::domain::error::{Error, Result};
use crate::domain::people::sessions::ENDED;
use crate::domain::validate::Check;
use crate::domain::viewer::Viewer;
use crate::limiter::Rate;
use crate::store::people::users;
use crate::store::push::settings::{
    self, NotificationContent, NotificationSettings as Row, QuietHours, SettingsChanges,
};

/// Maximum length of the name of a time zone. The longest name of the IANA database has 32 characters.
const MAX_TIME_ZONE: usize = 64;
const MINUTES_PER_HOUR: i16 = 60;
const HOURS_PER_DAY: i16 = 24;

pub struct NotificationSettings<'a> {
    pub(in crate::domain) core: &'a Arc<PushCore>,
}

/// Changes of the settings. None leaves a setting unchanged, and `Some(None)` removes the quiet hours.
#[derive(Debug, Default)]
pub struct NewSettings {
    pub content: Option<NotificationContent>,
    pub quiet_hours: Option<Option<NewQuietHours>>,
    pub email_digests: Option<bool>,
}

/// Quiet hours as text: times of the day such as 22:00, and the name of a time zone.
#[derive(Debug)]
pub struct NewQuietHours {
    pub from: String,
    pub to: String,
    pub time_zone: String,
}

impl NotificationSettings<'_> {
    /// Reads the viewer's settings, or the defaults.
    pub async fn get(&self, viewer: Viewer) -> Result<Row> {
        Ok(settings::find(&mut *self.core.base.connection().await?, viewer.user).await?)
    }

    /// Changes the viewer's settings, and returns the new ones.
    pub async fn update(&self, viewer: Viewer, new: NewSettings) -> Result<Row> {
        let quiet_hours = new.quiet_hours.map(|hours| hours.map(checked).transpose()).transpose()?;
        let changes = SettingsChanges { content: new.content, quiet_hours, email_digests: new.email_digests };
        if changes == SettingsChanges::default() {
            return self.get(viewer).await;
        }
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            if let Some(Some(hours)) = &changes.quiet_hours
                && !settings::knows_time_zone(tx.conn(), &hours.time_zone).await?
            {
                return Err(unknown_time_zone());
            }
            users::lock_row(tx.conn(), viewer.user).await?.ok_or(ENDED)?;
            Ok(settings::update(tx.conn(), viewer.user, &changes).await?)
        })
        .await
    }
}

/// Checks the form of quiet hours. Postgres checks later whether it knows the time zone.
fn checked(hours: NewQuietHours) -> Result<QuietHours> {
    let mut check = Check::default();
    let [from, to] = [("quietHours.from", &hours.from), ("quietHours.to", &hours.to)].map(|(path, text)| {
        minute_of_day(text).unwrap_or_else(|| {
            check.fail(path, "A time of the day must have the form 22:00, from 00:00 to 23:59.");
            0
        })
    });
    check.done()?;
    if from == to {
        return Err(Error::invalid("quietHours.to", "Quiet hours must not begin and end at the same time."));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'+' | b'-');
    if hours.time_zone.len() > MAX_TIME_ZONE || !hours.time_zone.bytes().all(allowed) {
        return Err(unknown_time_zone());
    }
    Ok(QuietHours { from, to, time_zone: hours.time_zone })
}

fn unknown_time_zone() -> Error {
    Error::invalid("quietHours.timeZone", "A time zone must be a name of the IANA database, such as Europe/Berlin.")
}

/// Returns the minutes from midnight to a time of the day such as 22:00. None if the text has another form.
fn minute_of_day(text: &str) -> Option<i16> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| i16::from(byte - b'0'));
    let [hour_tens, hour_ones, b':', minute_tens, minute_ones] = text.as_bytes() else { return None };
    let hour = digit(hour_tens)? * 10 + digit(hour_ones)?;
    let minute = digit(minute_tens)? * 10 + digit(minute_ones)?;
    (hour < HOURS_PER_DAY && minute < MINUTES_PER_HOUR).then_some(hour * MINUTES_PER_HOUR + minute)
}

#[cfg(test)]
mod tests {
    use super::minute_of_day;

    #[test]
    fn times_of_the_day_have_two_digits_for_hour_and_minute() {
        for (text, minute) in [("00:00", 0), ("07:05", 425), ("22:00", 1320), ("23:59", 1439)] {
            assert_eq!(minute_of_day(text), Some(minute), "{text}");
        }
        for wrong in ["", "24:00", "12:60", "7:05", "07:5", "07:05:00", "07.05", " 07:05", "-1:00", "٠٧:٠٥", "ab:cd"]
        {
            assert_eq!(minute_of_day(wrong), None, "{wrong}");
        }
    }
}
