//! The table of mutations and their events.

use futures_util::FutureExt as _;
use serde_json::json;

use super::{CLOSED, Row};
use crate::support::{Authenticator, PASSWORD, User, secret_token};

macro_rules! row {
    ($mutation:literal, log $log:expr, ada $ada:expr, bob $bob:expr, |$world:ident| $perform:expr) => {
        Row {
            mutation: $mutation,
            perform: |$world| {
                async move {
                    $perform;
                }
                .boxed_local()
            },
            log: &$log,
            ada: &$ada,
            bob: &$bob,
        }
    };
}

/// Returns one row for each mutation, in alphabetical order.
#[expect(clippy::too_many_lines, reason = "a table")]
pub fn rows() -> Vec<Row> {
    vec![
        row!("acceptCall", log ["membership_updated", "call_ringing", "call_answered"], ada ["CallRinging", "CallAnswered"], bob ["MembershipUpdated", "CallAnswered"], |world| {
            let call = world.bob.start_call(&world.direct).await.call_id();
            world.ada.accept_call(&call).await.data()
        }),
        row!("acceptContactRequest", log ["contacts_changed"; 4], ada ["ContactsChanged"; 2], bob ["ContactsChanged"; 2], |world| world.befriend().await),
        row!("addParticipants", log ["conversation_added", "conversation_updated", "message_added"],
        ada ["ConversationUpdated", "MessageAdded"], bob ["ConversationUpdated", "MessageAdded"], |world| {
            let eve = world.node.register("eve").await;
            world.ada.add_participants(&world.group, &[&eve]).await.data()
        }),
        // Second factors and passkeys concern only the sign-in, so they cause no events.
        row!("addPasskey", log [], ada [], bob [], |world| world.ada.add_passkey(&mut Authenticator::new()).await),
        row!("addReaction", log["message_updated"], ada["MessageUpdated"], bob["MessageUpdated"], |world| world
            .about("addReaction", ", emoji: \"👍\"")
            .await),
        row!("blockUser", log ["contacts_changed"], ada ["ContactsChanged"], bob [], |world| world.toward_bob("blockUser", "user { id }").await),
        row!("cancelScheduledMessage", log ["membership_updated"; 2], ada ["MembershipUpdated"; 2], bob [], |world| {
            let id = world.schedule().await;
            let query = "mutation ($id: ID!) {
                    cancelScheduledMessage(input: {scheduledMessageId: $id}) { scheduledMessageId }
                }";
            world.ada.query(query, json!({"id": id})).await
        }),
        row!("changePassword", log ["session_revoked"], ada [CLOSED], bob [], |world| {
            let query = "mutation ($old: String!) { changePassword(input: {
                currentPassword: $old, newPassword: \"another long battery staple\"
            }) { viewer { id } } }";
            world.ada.query(query, json!({"old": PASSWORD})).await
        }),
        row!("completeLogin", log [], ada [], bob [], |world| {
            let (app, _) = world.ada.enable_totp().await;
            let challenge = world.node.challenge_of(&world.ada).await;
            world.node.complete_login(&challenge, json!({"totp": app.code_in(1)})).await.data()
        }),
        // An attachment causes no event until a message with it is sent.
        row!("completeUpload", log [], ada [], bob [], |world| world.ada.upload_note("note").await),
        row!("confirmIdentity", log [], ada [], bob [], |world| {
            world.ada.confirm_by_password(PASSWORD).await.data()
        }),
        row!("confirmTotp", log [], ada [], bob [], |world| world.ada.enable_totp().await),
        // A new account causes no event.
        row!("createGuest", log [], ada [], bob [], |world| {
            let query = "mutation { createGuest(input: {}) { accessToken } }";
            world.node.call(None, query, json!({})).await.data()
        }),
        row!("createGroup", log ["conversation_added", "conversation_added"], ada ["ConversationAdded"],
            bob ["ConversationAdded"], |world| world.ada.create_group("New", &[&world.bob]).await),
        row!(
            "createInvite",
            log["conversation_updated"],
            ada["ConversationUpdated"],
            bob["ConversationUpdated"],
            |world| world.ada.create_invite(&world.group, json!({})).await.data()
        ),
        row!("createMultipartUpload", log [], ada [], bob [], |world| {
            let query = "mutation { createMultipartUpload(input: {
                fileName: \"a\", contentType: \"text/plain\", byteSize: 20000000
            }) { partBytes } }";
            world.ada.query(query, json!({})).await
        }),
        row!("createUpload", log [], ada [], bob [], |world| world.ada.begin_upload("a", "text/plain", 1).await),
        row!("declineCall", log ["membership_updated", "call_ringing", "call_ended", "message_added"], ada ["CallRinging", "CallEnded", "MessageAdded"],
            bob ["MembershipUpdated", "CallEnded", "MessageAdded"], |world| {
            let call = world.bob.start_call(&world.direct).await.call_id();
            world.ada.decline_call(&call).await.data()
        }),
        row!("declineContactRequest", log ["contacts_changed"; 4], ada ["ContactsChanged"; 2], bob ["ContactsChanged"; 2], |world| {
            let id = world.receive_contact_request().await;
            let query = "mutation ($id: ID!) { declineContactRequest(input: {requestId: $id}) { requestId } }";
            world.ada.query(query, json!({"id": id})).await
        }),
        // The group gets a new owner. The last conversation event belongs to the conversation of the marker.
        row!("deleteAccount",
        log [
            "user_updated",
            "conversation_removed", "conversation_updated",
            "conversation_removed", "conversation_updated", "membership_updated", "message_added", "message_added",
            "conversation_removed", "conversation_updated", "message_added",
            "session_revoked", "session_revoked",
        ],
        ada [CLOSED], bob ["ConversationUpdated", "ConversationUpdated", "MembershipUpdated", "MessageAdded", "MessageAdded", "ConversationUpdated", "MessageAdded"], |world| {
            world.ada.delete_account(Some(PASSWORD)).await.data()
        }),
        row!("deleteMessage", log ["message_added", "message_updated", "message_removed"], ada ["MessageAdded", "MessageUpdated", "MessageRemoved"], bob ["MessageAdded", "MessageUpdated"], |world| {
            let query = "mutation ($id: ID!, $scope: DeleteScope!) {
                    deleteMessage(input: {messageId: $id, scope: $scope}) { messageId }
                }";
            let own = world.ada.send(&world.direct, "hello").await;
            world.ada.query(query, json!({"id": own["id"], "scope": "EVERYONE"})).await;
            world.ada.query(query, json!({"id": world.message["id"], "scope": "VIEWER"})).await
        }),
        row!("disableTotp", log [], ada [], bob [], |world| {
            world.ada.enable_totp().await;
            world.ada.query("mutation { disableTotp { viewer { id } } }", json!({})).await
        }),
        row!("editMessage", log ["message_added", "message_updated"], ada ["MessageAdded", "MessageUpdated"], bob ["MessageAdded", "MessageUpdated"], |world| {
            let own = world.ada.send(&world.direct, "hello").await;
            let query = "mutation ($id: ID!) { editMessage(input: {messageId: $id, body: \"hi\"}) { message { id } } }";
            world.ada.query(query, json!({"id": own["id"]})).await
        }),
        row!("forwardMessages", log["message_added"], ada["MessageAdded"], bob["MessageAdded"], |world| {
            let query = "mutation ($id: ID!, $to: ID!) {
                    forwardMessages(input: {messageIds: [$id], conversationIds: [$to]}) { messages { id } }
                }";
            world.ada.query(query, json!({"id": world.message["id"], "to": world.direct})).await
        }),
        row!("joinByInvite", log ["conversation_added", "conversation_updated", "conversation_added", "conversation_updated", "message_added"],
        ada ["ConversationAdded", "ConversationUpdated", "MessageAdded"], bob ["ConversationAdded", "ConversationUpdated", "ConversationUpdated", "MessageAdded"], |world| {
            let his = world.bob.create_group("His", &[]).await;
            let invite = world.bob.create_invite(&his, json!({})).await.data();
            world.ada.join(&invite["createInvite"]["invite"]["code"]).await.data()
        }),
        row!("leaveCall", log ["membership_updated", "call_ringing", "call_left", "call_ended", "message_added"], ada ["MembershipUpdated", "CallLeft", "CallEnded", "MessageAdded"],
            bob ["CallRinging", "CallLeft", "CallEnded", "MessageAdded"], |world| {
            let call = world.ada.start_call(&world.direct).await.call_id();
            world.ada.leave_call(&call).await.data()
        }),
        row!("leaveConversation",
            log ["conversation_removed", "conversation_updated", "membership_updated", "message_added", "message_added"],
            ada ["ConversationRemoved"], bob ["ConversationUpdated", "MembershipUpdated", "MessageAdded", "MessageAdded"],
            |world| world.ada.leave(&world.group).await.data()),
        row!("linkIdentity", log [], ada [], bob [], |world| {
            world.ada.link_identity(&secret_token(&world.ada.id)).await.data()
        }),
        // A new session causes no event.
        row!("loginWithCode", log [], ada [], bob [], |world| world.node.user_by_code(&email(&world.ada)).await),
        row!("loginWithPasskey", log [], ada [], bob [], |world| {
            let mut authenticator = Authenticator::new();
            world.ada.add_passkey(&mut authenticator).await;
            world.node.login_with_passkey(&authenticator).await.data()
        }),
        row!("login", log [], ada [], bob [], |world| {
            User::login(&*world.node, &world.ada.username, PASSWORD).await
        }),
        row!("logout", log ["session_revoked"], ada [], bob [], |world| {
            world.ada.query("mutation { logout { sessionId } }", json!({})).await
        }),
        row!("markDelivered", log["receipt_advanced"], ada["ReceiptAdvanced"], bob["ReceiptAdvanced"], |world| {
            let query = "mutation ($id: ID!) { markDelivered(input: {messageId: $id}) { conversation { id } } }";
            world.ada.query(query, json!({"id": world.message["id"]})).await
        }),
        row!("markRead", log["receipt_advanced"], ada["ReceiptAdvanced"], bob["ReceiptAdvanced"], |world| {
            world.ada.mark_read(&world.message).await.data()
        }),
        row!("openDirectConversation", log ["conversation_added", "conversation_added"], ada ["ConversationAdded"],
        bob [], |world| {
            let eve = world.node.register("eve").await;
            world.ada.open_direct(&eve).await
        }),
        row!("passkeyCreationOptions", log [], ada [], bob [], |world| world.ada.creation_options().await),
        row!("passkeyRequestOptions", log [], ada [], bob [], |world| world.node.passkey_options().await),
        row!("pinMessage", log ["message_updated", "message_added"], ada ["MessageUpdated", "MessageAdded"], bob ["MessageUpdated", "MessageAdded"], |world| world.about("pinMessage", "").await),
        row!("regenerateRecoveryCodes", log [], ada [], bob [], |world| {
            world.ada.enable_totp().await;
            world.ada.query("mutation { regenerateRecoveryCodes { recoveryCodes } }", json!({})).await
        }),
        row!("refreshSession", log [], ada [], bob [], |world| {
            let query = "mutation ($token: String!) { refreshSession(input: {refreshToken: $token}) { accessToken } }";
            world.node.call(None, query, json!({"token": world.ada.refresh_token})).await.data()
        }),
        // A new account causes no event.
        row!("register", log [], ada [], bob [], |world| world.node.register("eve").await),
        // Other users do not see the devices of an account, so push subscriptions cause no events.
        row!("registerPushSubscription", log [], ada [], bob [], |world| world.subscribe_device().await),
        row!("removeContact", log ["contacts_changed"; 6], ada ["ContactsChanged"; 3], bob ["ContactsChanged"; 3], |world| {
            world.befriend().await;
            world.toward_bob("removeContact", "user { id }").await;
        }),
        row!("removeParticipant", log ["conversation_removed", "conversation_updated", "message_added"],
            ada ["ConversationUpdated", "MessageAdded"], bob ["ConversationRemoved"],
            |world| world.ada.remove(&world.group, &world.bob).await.data()),
        row!("removePasskey", log [], ada [], bob [], |world| {
            let passkey = world.ada.add_passkey(&mut Authenticator::new()).await;
            let query = "mutation ($id: ID!) { removePasskey(input: {passkeyId: $id}) { passkeyId } }";
            world.ada.query(query, json!({"id": passkey["id"]})).await
        }),
        row!("removePushSubscription", log [], ada [], bob [], |world| {
            let id = world.subscribe_device().await;
            let query = "mutation ($id: ID!) { removePushSubscription(input: {id: $id}) { removedId } }";
            world.ada.query(query, json!({"id": id})).await
        }),
        row!("removeReaction", log ["message_updated"; 2], ada ["MessageUpdated"; 2], bob ["MessageUpdated"; 2], |world| {
            world.about("addReaction", ", emoji: \"👍\"").await;
            world.about("removeReaction", ", emoji: \"👍\"").await;
        }),
        row!("renamePasskey", log [], ada [], bob [], |world| {
            let passkey = world.ada.add_passkey(&mut Authenticator::new()).await;
            let query = "mutation ($id: ID!) {
                renamePasskey(input: {passkeyId: $id, name: \"x\"}) { passkey { id } }
            }";
            world.ada.query(query, json!({"id": passkey["id"]})).await
        }),
        row!("requestCode", log [], ada [], bob [], |world| world.node.code(&email(&world.ada), "LOGIN").await),
        // Ada has two sessions, and both end.
        row!("resetPassword", log ["user_updated", "session_revoked", "session_revoked"], ada [CLOSED], bob [], |world| {
            let email = email(&world.ada);
            world.ada.verify(&world.node, &email).await;
            let code = world.node.code(&email, "RESET_PASSWORD").await;
            world.node.reset_password(&email, &code, "another long battery staple").await.data()
        }),
        row!("resumeUpload", log [], ada [], bob [], |world| {
            let begun = world.ada.begin_upload("a", "text/plain", 1).await;
            let query = "mutation ($id: ID!) { resumeUpload(input: {attachmentId: $id}) { uploaded } }";
            world.ada.query(query, json!({"id": begun["attachment"]["id"]})).await
        }),
        row!("revokeInvite", log ["conversation_updated", "conversation_updated"],
            ada ["ConversationUpdated", "ConversationUpdated"], bob ["ConversationUpdated", "ConversationUpdated"], |world| {
            let invite = world.ada.create_invite(&world.group, json!({})).await.data();
            let query = "mutation ($id: ID!) { revokeInvite(input: {inviteId: $id}) { inviteId } }";
            world.ada.query(query, json!({"id": invite["createInvite"]["invite"]["id"]})).await
        }),
        row!("revokeOtherSessions", log ["session_revoked"], ada [CLOSED], bob [], |world| {
            world.ada.query("mutation { revokeOtherSessions { sessionIds } }", json!({})).await
        }),
        row!("revokeSession", log ["session_revoked"], ada [], bob [], |world| {
            let query = "mutation ($id: ID!) { revokeSession(input: {sessionId: $id}) { sessionId } }";
            world.ada.query(query, json!({"id": world.ada.session})).await
        }),
        row!("scheduleMessage", log ["membership_updated"], ada ["MembershipUpdated"], bob [], |world| world.schedule().await),
        // Only the addressed device gets the signal, in `callEvents`.
        row!("sendCallSignal", log ["membership_updated", "call_ringing", "call_answered", "call_signalled"], ada ["MembershipUpdated", "CallAnswered"], bob ["CallRinging", "CallAnswered"], |world| {
            let call = world.ada.start_call(&world.direct).await.call_id();
            world.bob.accept_call(&call).await.data();
            world.ada.send_candidate(&call, &world.bob, "").await.data()
        }),
        row!("sendContactRequest", log ["contacts_changed"; 2], ada ["ContactsChanged"], bob ["ContactsChanged"], |world| world.toward_bob("sendContactRequest", "request { id }").await),
        row!("sendMessage", log["message_added"], ada["MessageAdded"], bob["MessageAdded"], |world| {
            world.ada.send(&world.direct, "hello").await
        }),
        row!("setPresence", log [], ada ["PresenceChanged"], bob [], |world| {
            let query = "mutation { setPresence(input: {status: AWAY}) { presence { status } } }";
            world.ada.query(query, json!({})).await
        }),
        row!("setUpTotp", log [], ada [], bob [], |world| world.ada.set_up_totp().await),
        row!("setTyping", log [], ada [], bob ["TypingChanged"], |world| {
            let query =
                "mutation ($id: ID!) { setTyping(input: {conversationId: $id, typing: true}) { conversationId } }";
            world.ada.query(query, json!({"id": world.direct})).await
        }),
        row!("setParticipantRole", log ["membership_updated", "conversation_updated", "message_added"],
            ada ["ConversationUpdated", "MessageAdded"],
            bob ["MembershipUpdated", "ConversationUpdated", "MessageAdded"],
            |world| world.ada.set_role(&world.group, &world.bob, "ADMIN").await.data()),
        row!("signInWithToken", log [], ada [], bob [], |world| {
            world.node.user_by_token(&secret_token(&world.ada.id)).await
        }),
        row!("startCall", log ["membership_updated", "call_ringing"], ada ["MembershipUpdated"], bob ["CallRinging"],
            |world| world.ada.start_call(&world.direct).await.data()),
        row!("unbanUser", log ["conversation_removed", "conversation_updated", "message_added", "conversation_updated"],
            ada ["ConversationUpdated", "MessageAdded", "ConversationUpdated"], bob ["ConversationRemoved"], |world| {
            world.ada.ban(&world.group, &world.bob).await.data();
            world.ada.unban(&world.group, &world.bob).await.data()
        }),
        row!("unblockUser", log ["contacts_changed"; 2], ada ["ContactsChanged"; 2], bob [], |world| {
            world.toward_bob("blockUser", "user { id }").await;
            world.toward_bob("unblockUser", "user { id }").await;
        }),
        row!("unlinkIdentity", log [], ada [], bob [], |world| {
            let linked = world.ada.link_identity(&secret_token(&world.ada.id)).await.data();
            world.ada.unlink_identity(&linked["linkIdentity"]["viewer"]["identities"][0]["id"]).await.data()
        }),
        row!("unpinMessage", log ["message_updated", "message_added", "message_updated"], ada ["MessageUpdated", "MessageAdded", "MessageUpdated"], bob ["MessageUpdated", "MessageAdded", "MessageUpdated"], |world| {
            world.about("pinMessage", "").await;
            world.about("unpinMessage", "").await;
        }),
        row!("updateGroup", log ["conversation_updated", "message_added"], ada ["ConversationUpdated", "MessageAdded"],
            bob ["ConversationUpdated", "MessageAdded"],
            |world| world.ada.update_group(&world.group, json!({"title": "New"})).await.data()),
        row!("updateMembership", log ["membership_updated"], ada ["MembershipUpdated"], bob [], |world| {
            let query = "mutation ($id: ID!) {
                    updateMembership(input: {conversationId: $id, archived: true}) { conversation { id } }
                }";
            world.ada.query(query, json!({"id": world.direct})).await
        }),
        row!("updateNotificationSettings", log [], ada [], bob [], |world| {
            let query = "mutation { updateNotificationSettings(input: {content: SENDER}) {
                notificationSettings { content }
            } }";
            world.ada.query(query, json!({})).await
        }),
        row!("updatePrivacy", log ["user_updated", "read_receipts_off"], ada [], bob [], |world| {
            let query = "mutation { updatePrivacy(input: {readReceipts: false}) { viewer { id } } }";
            world.ada.query(query, json!({})).await
        }),
        // The event in the log makes nodes reload the user. Clients receive no event, because the schema has none.
        row!("updateProfile", log ["user_updated"], ada [], bob [], |world| {
            let query = "mutation { updateProfile(input: {about: \"new\"}) { viewer { id } } }";
            world.ada.query(query, json!({})).await
        }),
        // The event is of the guest.
        row!("upgradeGuest", log ["user_updated"], ada [], bob [], |world| {
            let create = "mutation { createGuest(input: {}) {
                accessToken refreshToken session { id } viewer { user { id username } }
            } }";
            let created = world.node.call(None, create, json!({})).await.data();
            let guest = User::from_payload(&*world.node, &created["createGuest"]);
            let query = "mutation ($input: UpgradeGuestInput!) { upgradeGuest(input: $input) { viewer { id } } }";
            let username = format!("up_{}", &world.ada.username);
            guest.query(query, json!({"input": {"username": username, "password": PASSWORD}})).await
        }),
        row!("verifyContactPoint", log ["user_updated"], ada [], bob [], |world| {
            world.ada.verify(&world.node, &email(&world.ada)).await
        }),
    ]
}

/// Returns an e-mail address that belongs only to this user.
fn email(user: &User) -> String {
    format!("{}@example.org", user.username)
}
