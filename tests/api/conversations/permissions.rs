//! Permissions in groups: the code and the API agree with each cell of the table in docs/permissions.md.

use parlance::domain::permissions::{Action, may};
use parlance::store::conversations::conversations::ConversationKind;
use parlance::store::conversations::participants::ParticipantRole;
use serde_json::{Value, json};

use crate::support::{Answer, Node, User};

const ROWS: [(&str, Action); 10] = [
    ("change the title, the topic or the avatar", Action::Rename),
    ("set whether new participants see earlier messages", Action::SetHistory),
    ("add participants", Action::AddParticipant),
    ("remove a member", Action::RemoveMember),
    ("remove an admin", Action::RemoveAdmin),
    ("remove the owner", Action::RemoveOwner),
    ("change roles", Action::SetRole),
    ("create, list and revoke invites", Action::Invite),
    ("list and lift bans", Action::Ban),
    ("pin and unpin messages", Action::Pin),
];
const ROLES: [ParticipantRole; 3] = [ParticipantRole::Owner, ParticipantRole::Admin, ParticipantRole::Member];

/// Reads the rows of the table: the action, and whether the owner, an admin and a member are allowed to do it.
fn documented() -> Vec<(&'static str, [bool; 3])> {
    let lines = include_str!("../../../docs/permissions.md").lines().skip_while(|line| !line.starts_with("| what"));
    lines
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            let yes = |cell: &str| match cell {
                "yes" => true,
                "no" => false,
                other => panic!("{other} in {line}"),
            };
            (cells[0], [yes(cells[1]), yes(cells[2]), yes(cells[3])])
        })
        .collect()
}

#[test]
fn the_documented_permissions_match_the_code() {
    let decided = |action| ROLES.map(|role| may(ConversationKind::Group, role, action));
    let expected: Vec<_> = ROWS.iter().map(|&(words, action)| (words, decided(action))).collect();
    assert_eq!(documented(), expected);
    for (_, action) in ROWS {
        let direct = may(ConversationKind::Direct, ParticipantRole::Member, action);
        assert_eq!(direct, action == Action::Pin, "{action:?}");
    }
}

/// A group with an owner, two admins, two members and two banned users, and a user outside the group.
struct Scene {
    group: String,
    /// Users with the roles in `ROLES`, in the same order.
    actors: [User; 3],
    other_admin: User,
    other_member: User,
    outsider: User,
    banned: [User; 2],
}

impl Scene {
    async fn new(node: &Node) -> Self {
        let mut users = Vec::new();
        for name in ["owner", "admin", "member", "other_admin", "other_member", "outsider", "banned", "banned"] {
            users.push(node.register(name).await);
        }
        let Ok([owner, admin, member, other_admin, other_member, outsider, one, two]) = <[User; 8]>::try_from(users)
        else {
            panic!("not eight users")
        };
        let group = owner.create_group("Roles", &[&admin, &member, &other_admin, &other_member, &one, &two]).await;
        for user in [&one, &two] {
            owner.ban(&group, user).await.data();
        }
        for user in [&admin, &other_admin] {
            owner.set_role(&group, user, "ADMIN").await.data();
        }
        Self { group, actors: [owner, admin, member], other_admin, other_member, outsider, banned: [one, two] }
    }

    async fn attempt(&self, actor: &User, action: Action) -> Answer {
        let group = &self.group;
        match action {
            Action::Rename => actor.update_group(group, json!({"title": "Renamed", "topic": "new"})).await,
            Action::SetHistory => actor.update_group(group, json!({"historyVisible": false})).await,
            Action::AddParticipant => actor.add_participants(group, &[&self.outsider]).await,
            Action::RemoveMember => actor.remove(group, &self.other_member).await,
            Action::RemoveAdmin => actor.remove(group, &self.other_admin).await,
            Action::RemoveOwner => actor.remove(group, &self.actors[0]).await,
            Action::SetRole => actor.set_role(group, &self.other_member, "ADMIN").await,
            Action::Invite => actor.create_invite(group, json!({})).await,
            Action::Ban => {
                // The owner and the admin each lift the ban of another user.
                let banned = if actor.id == self.actors[0].id { &self.banned[0] } else { &self.banned[1] };
                actor.unban(group, banned).await
            }
            Action::Pin => unreachable!("tests/api/messaging/pins.rs tests this action"),
        }
    }
}

#[tokio::test]
async fn the_api_enforces_each_documented_permission() {
    let node = Node::start().await;
    for ((words, allowed), (_, action)) in documented().into_iter().zip(ROWS) {
        if action == Action::Pin {
            continue;
        }
        let scene = Scene::new(&node).await;
        // The member attempts the action first and the owner last, so that no attempt prevents a later attempt.
        for place in [2, 1, 0] {
            if action == Action::RemoveOwner && place == 0 {
                // An owner cannot remove themselves, but can leave the group.
                assert_eq!(scene.attempt(&scene.actors[0], action).await.violations(), ["userId"]);
                continue;
            }
            let answer = scene.attempt(&scene.actors[place], action).await;
            let expected = if allowed[place] { None } else { Some("FORBIDDEN") };
            let code = answer.body.get("errors").map(|_| answer.code());
            // The admin has already removed the member, so the owner gets NOT_FOUND.
            let done = place == 0 && allowed[1] && action == Action::RemoveMember;
            assert_eq!(code, if done { Some("NOT_FOUND") } else { expected }, "{words}, {:?}", ROLES[place]);
        }
        // A user outside the group gets NOT_FOUND.
        let outsider = node.register("stranger").await;
        assert_eq!(scene.attempt(&outsider, action).await.code(), "NOT_FOUND", "{words}");
    }
}

#[tokio::test]
async fn group_mutations_reject_direct_conversations() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let direct = ada.open_direct(&bob).await;
    let answers = [
        ada.update_group(&direct, json!({"title": "Renamed"})).await,
        ada.update_group(&direct, json!({"historyVisible": false})).await,
        ada.add_participants(&direct, &[&cem]).await,
        ada.set_role(&direct, &bob, "ADMIN").await,
        ada.create_invite(&direct, json!({})).await,
        ada.unban(&direct, &bob).await,
    ];
    for answer in answers {
        assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["conversationId"]));
    }
    let query = "query ($id: ID!) { conversation(id: $id) { participantCount historyVisible } }";
    let data = ada.query(query, json!({"id": direct})).await;
    assert_eq!(data["conversation"], json!({"participantCount": 2, "historyVisible": true}));
    assert_eq!(bob.query(query, json!({"id": "cnv_00000000000000000000000000"})).await["conversation"], Value::Null);
}
