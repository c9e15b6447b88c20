//! The services of the domain, one for each noun.

use super::App;
use crate::domain::blocks::Blocks;
use crate::domain::calls::calls::Calls;
use crate::domain::calls::ice_servers::IceServers;
use crate::domain::conversations::bans::Bans;
use crate::domain::conversations::conversations::Conversations;
use crate::domain::conversations::invites::Invites;
use crate::domain::conversations::memberships::Memberships;
use crate::domain::conversations::participants::Participants;
use crate::domain::conversations::rooms::Rooms;
use crate::domain::conversations::typing::Typings;
use crate::domain::files::attachments::Attachments;
use crate::domain::files::uploads::Uploads;
use crate::domain::messaging::messages::Messages;
use crate::domain::messaging::pins::Pins;
use crate::domain::messaging::reactions::Reactions;
use crate::domain::messaging::receipts::Receipts;
use crate::domain::messaging::scheduled_messages::ScheduledMessages;
use crate::domain::messaging::search::Searches;
use crate::domain::people::accounts::Accounts;
use crate::domain::people::browser_logins::BrowserLogins;
use crate::domain::people::code_logins::CodeLogins;
use crate::domain::people::codes::Codes;
use crate::domain::people::confirmations::Confirmations;
use crate::domain::people::contact_points::ContactPoints;
use crate::domain::people::contacts::Contacts;
use crate::domain::people::factor_logins::FactorLogins;
use crate::domain::people::guests::Guests;
use crate::domain::people::identities::Identities;
use crate::domain::people::issuer_logins::IssuerLogins;
use crate::domain::people::passkeys::Passkeys;
use crate::domain::people::presence::Presences;
use crate::domain::people::privacy::Privacy;
use crate::domain::people::second_factors::SecondFactors;
use crate::domain::people::sessions::Sessions;
use crate::domain::people::users::Users;
use crate::domain::push::digests::Digests;
use crate::domain::push::notification_settings::NotificationSettings;
use crate::domain::push::subscriptions::PushSubscriptions;

impl App {
    pub fn accounts(&self) -> Accounts<'_> {
        Accounts { core: &self.inner.people }
    }

    pub fn sessions(&self) -> Sessions<'_> {
        Sessions { core: &self.inner.people }
    }

    pub fn codes(&self) -> Codes<'_> {
        Codes { core: &self.inner.people }
    }

    pub fn code_logins(&self) -> CodeLogins<'_> {
        CodeLogins { core: &self.inner.people }
    }

    pub fn issuer_logins(&self) -> IssuerLogins<'_> {
        IssuerLogins { core: &self.inner.people }
    }

    pub fn browser_logins(&self) -> BrowserLogins<'_> {
        BrowserLogins { core: &self.inner.people }
    }

    pub fn identities(&self) -> Identities<'_> {
        Identities { core: &self.inner.people }
    }

    pub fn guests(&self) -> Guests<'_> {
        Guests { core: &self.inner.people }
    }

    pub fn confirmations(&self) -> Confirmations<'_> {
        Confirmations { core: &self.inner.people }
    }

    pub fn second_factors(&self) -> SecondFactors<'_> {
        SecondFactors { core: &self.inner.people }
    }

    pub fn factor_logins(&self) -> FactorLogins<'_> {
        FactorLogins { core: &self.inner.people }
    }

    pub fn passkeys(&self) -> Passkeys<'_> {
        Passkeys { core: &self.inner.people }
    }

    pub fn contact_points(&self) -> ContactPoints<'_> {
        ContactPoints { core: &self.inner.people }
    }

    pub fn users(&self) -> Users<'_> {
        Users { core: &self.inner.people }
    }

    pub fn conversations(&self) -> Conversations<'_> {
        Conversations { core: &self.inner.conversations }
    }

    pub fn participants(&self) -> Participants<'_> {
        Participants { core: &self.inner.conversations }
    }

    pub fn invites(&self) -> Invites<'_> {
        Invites { core: &self.inner.conversations }
    }

    pub fn bans(&self) -> Bans<'_> {
        Bans { core: &self.inner.conversations }
    }

    pub fn messages(&self) -> Messages<'_> {
        Messages { core: &self.inner.messaging }
    }

    pub fn reactions(&self) -> Reactions<'_> {
        Reactions { core: &self.inner.messaging }
    }

    pub fn pins(&self) -> Pins<'_> {
        Pins { core: &self.inner.messaging }
    }

    pub fn searches(&self) -> Searches<'_> {
        Searches { core: &self.inner.messaging }
    }

    pub fn receipts(&self) -> Receipts<'_> {
        Receipts { core: &self.inner.messaging }
    }

    pub fn contacts(&self) -> Contacts<'_> {
        Contacts { core: &self.inner.people }
    }

    pub fn blocks(&self) -> Blocks<'_> {
        Blocks { conversations: &self.inner.conversations }
    }

    pub fn privacy(&self) -> Privacy<'_> {
        Privacy { core: &self.inner.people }
    }

    pub fn memberships(&self) -> Memberships<'_> {
        Memberships { core: &self.inner.conversations }
    }

    pub fn scheduled_messages(&self) -> ScheduledMessages<'_> {
        ScheduledMessages { core: &self.inner.messaging }
    }

    pub fn uploads(&self) -> Uploads<'_> {
        Uploads { core: &self.inner.files }
    }

    pub fn attachments(&self) -> Attachments<'_> {
        Attachments { core: &self.inner.files }
    }

    pub fn calls(&self) -> Calls<'_> {
        Calls { core: &self.inner.calls }
    }

    pub fn presences(&self) -> Presences<'_> {
        Presences { core: &self.inner.people }
    }

    pub fn typing(&self) -> Typings<'_> {
        Typings { core: &self.inner.conversations }
    }

    pub fn rooms(&self) -> Rooms<'_> {
        Rooms { core: &self.inner.conversations }
    }

    pub fn ice_servers(&self) -> IceServers<'_> {
        IceServers { core: &self.inner.calls }
    }

    pub fn push_subscriptions(&self) -> PushSubscriptions<'_> {
        PushSubscriptions { core: &self.inner.pushes.core }
    }

    pub fn notification_settings(&self) -> NotificationSettings<'_> {
        NotificationSettings { core: &self.inner.pushes.core }
    }

    pub fn digests(&self) -> Digests<'_> {
        Digests { core: &self.inner.pushes.core }
    }
}
