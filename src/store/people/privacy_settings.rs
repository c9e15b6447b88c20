//! The privacy settings of a user.

use diesel::prelude::*;

use crate::store::schema::users;
use crate::store::text_enum;

text_enum!(Audience { Everyone = "EVERYONE", Contacts = "CONTACTS", Nobody = "NOBODY" });

/// The privacy settings of a user: the columns of `users` that only this user sees and sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = users, check_for_backend(diesel::pg::Pg))]
pub struct Privacy {
    pub last_seen: Audience,
    /// If false, other users do not see how far the user has read, and the user does not see how far other users have
    /// read.
    pub read_receipts: bool,
    pub group_adds: Audience,
    pub discoverable_by_contact_point: Audience,
}

impl Default for Privacy {
    /// Returns the default values of the columns.
    fn default() -> Self {
        let everyone = Audience::Everyone;
        Self { last_seen: everyone, read_receipts: true, group_adds: everyone, discoverable_by_contact_point: everyone }
    }
}
