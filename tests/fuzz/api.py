"""Sends a running server requests that schemathesis generates from its schema; scripts/fuzz-api starts the server.

Each field of Query and Mutation gets arguments that fit the schema and some that do not, signed in and anonymous.
Every answer must be GraphQL, and none may be an internal error.
"""

import argparse
import base64
import collections
import dataclasses
import functools
import hashlib
import hmac
import http.server
import json
import pathlib
import sys
import threading
import time
from random import Random

import graphql
import hypothesis
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.graphql import nodes

# Values of the API's scalars: valid ones, and some that the server must refuse.
schemathesis.graphql.scalar(
    "DateTime",
    st.one_of(st.datetimes().map(lambda moment: moment.isoformat() + "Z"), st.datetimes().map(str), st.text()).map(
        nodes.String
    ),
)

# All services run during the test, so UNAVAILABLE is a defect as well.
FORBIDDEN_CODES = ("INTERNAL_SERVER_ERROR", "UNAVAILABLE")
# Minimum percentage of answers to a signed-in user that have data. Below it, too few requests reach the resolvers.
MIN_WITH_DATA = 40
# Probability with which a meaningful value replaces a random argument.
MEANINGFUL = 0.8
MAX_SHOWN_FAILURES = 10
# A picture of one grey pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)


# The purpose of the code that each mutation needs.
PURPOSES = {
    "confirmIdentity": "CONFIRM",
    "deleteAccount": "CONFIRM",
    "loginWithCode": "LOGIN",
    "resetPassword": "RESET_PASSWORD",
    "verifyContactPoint": "VERIFY",
}
# The public key and the secret of a device: the example of RFC 8291, section 5.
P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
PUSH_AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
# Maximum time in seconds for a code to arrive.
CODE_TIMEOUT = 30


# The issuer whose tokens the server accepts.
ISSUER = json.loads((pathlib.Path(__file__).parent.parent / "issuers.json").read_text())[0]


def issuer_token(subject):
    """A token of the issuer, which signs with a shared secret."""
    now = int(time.time())
    claims = {"iss": ISSUER["issuer"], "aud": ISSUER["audiences"][0], "sub": subject, "iat": now, "exp": now + 300}
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signed = b".".join(unpadded(part) for part in parts)
    return (signed + b"." + unpadded(hmac.digest(ISSUER["secret"].encode(), signed, hashlib.sha256))).decode()


def unpadded(part):
    return base64.urlsafe_b64encode(part).rstrip(b"=")


def totp_code(secret, steps=0):
    """The code that an authenticator app with this secret in Base32 shows after some steps of 30 seconds."""
    step = (int(time.time()) // 30 + steps).to_bytes(8, "big")
    tag = hmac.digest(base64.b32decode(secret), step, hashlib.sha1)
    number = int.from_bytes(tag[tag[19] & 15 :][:4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"


@functools.cache
def rsa_key():
    """The modulus and the private exponent of an RSA key of 2048 bits. Its public exponent is 65537."""
    random = Random("the key of all passkeys")

    def prime():
        while True:
            number = random.getrandbits(1024) | 3 << 1022 | 1
            if number % 65537 == 1 or not all(number % small for small in range(3, 2000, 2)):
                continue
            if all(pow(base, number - 1, number) == 1 for base in (2, 3, 5)):
                return number

    p, q = prime(), prime()
    return p * q, pow(65537, -1, (p - 1) * (q - 1))


def rs256(message):
    """A signature by RSASSA-PKCS1-v1_5 with SHA-256."""
    modulus, exponent = rsa_key()
    digest = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(message).digest()
    padded = b"\x00\x01" + b"\xff" * (253 - len(digest)) + b"\x00" + digest
    return pow(int.from_bytes(padded, "big"), exponent, modulus).to_bytes(256, "big")


class Authenticator:
    """Makes one passkey and signs challenges with it, as a browser and an authenticator do together."""

    made = 0

    def __init__(self):
        Authenticator.made += 1
        self.id = hashlib.sha256(f"passkey {Authenticator.made}".encode()).digest()
        self.user = None

    def create(self, options):
        """Answers the options for a new passkey. Returns the JSON text of the credential."""
        options = json.loads(options)
        self.user = options["user"]["id"]
        modulus = rsa_key()[0].to_bytes(256, "big")
        key = b"\xa4\x01\x03\x03\x39\x01\x00\x20\x59\x01\x00" + modulus + b"\x21\x43\x01\x00\x01"
        data = self.data(0x45) + bytes(16) + len(self.id).to_bytes(2, "big") + self.id + key
        attestation = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59" + len(data).to_bytes(2, "big") + data
        response = {"clientDataJSON": self.client_data("create", options), "attestationObject": attestation}
        return self.credential(response)

    def get(self, options):
        """Answers the options for a sign-in. Returns the JSON text of the credential."""
        client_data, data = self.client_data("get", json.loads(options)), self.data(0x05)
        signature = rs256(data + hashlib.sha256(client_data).digest())
        response = {"clientDataJSON": client_data, "authenticatorData": data, "signature": signature}
        return self.credential(response, userHandle=self.user)

    def data(self, flags):
        return hashlib.sha256(b"localhost").digest() + bytes([flags]) + bytes(4)

    def client_data(self, ceremony, options):
        data = {"type": f"webauthn.{ceremony}", "challenge": options["challenge"], "origin": "http://localhost"}
        return json.dumps(data).encode()

    def credential(self, response, **texts):
        encoded = {name: unpadded(value).decode() for name, value in response.items()}
        return json.dumps({"id": unpadded(self.id).decode(), "type": "public-key", "response": {**encoded, **texts}})


class Hook:
    """Receives the SMS of the server, and keeps the newest code of each purpose for each number. Also accepts all push
    notifications below /push/."""

    def __init__(self, port):
        codes, arrived = {}, threading.Condition()
        self.codes, self.arrived, self.port = codes, arrived, port

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path.startswith("/push/"):
                    self.send_response(201)
                    return self.end_headers()
                data = json.loads(body)["data"]
                with arrived:
                    codes[data["to"], data["purpose"]] = data.get("code")
                    arrived.notify_all()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                """Logs nothing."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def take(self, phone, purpose):
        key = (phone, purpose.lower())
        with self.arrived:
            if not self.arrived.wait_for(lambda: key in self.codes, CODE_TIMEOUT):
                raise RuntimeError(f"no code to {key} arrived")
            return self.codes.pop(key)


class Api:
    """The server's endpoint, and the hook that gets its SMS."""

    def __init__(self, url, hook):
        self.url, self.hook = url, hook
        self.session = requests.Session()
        # The server runs on this machine, so the proxies of the environment do not apply.
        self.session.trust_env = False

    def send(self, document, token=None):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self.session.post(self.url, json={"query": document}, headers=headers, timeout=60)

    def put(self, upload, body):
        """Uploads bytes to the URL of an upload's payload, with its method and headers."""
        headers = {header["name"]: header["value"] for header in upload["headers"]}
        self.session.request(upload["method"], upload["url"], data=body, headers=headers, timeout=60).raise_for_status()

    def ask(self, document, token=None):
        """Sends a document that must succeed. Returns its data."""
        answer = self.send(document, token).json()
        if "errors" in answer:
            raise RuntimeError(f"{document} got {answer}")
        return answer["data"]


class Person:
    """An account with data to query: conversations, messages, uploads and calls, with their ids and cursors."""

    PASSWORD = "a loom of one's own, 1929"
    # The last phone number of a person.
    last_phone = 4915100000000

    def __init__(self, api, name, friend=None):
        self.api, self.name = api, name
        data = api.ask(
            f'mutation {{ register(input: {{username: "{name}", password: "{self.PASSWORD}"}}) {{'
            " accessToken refreshToken session { id } viewer { id user { id } } } }"
        )["register"]
        self.token, self.refresh_token = data["accessToken"], data["refreshToken"]
        self.id, self.sessions = data["viewer"]["user"]["id"], [data["session"]["id"]]
        self.friends, self.names = [self.id], [name]
        self.conversations, self.messages, self.participants, self.requests = [], [], [], []
        self.invites, self.codes, self.scheduled = [], [], []
        # A group from which the friend is banned, and the id of the friend.
        self.bans, self.banned = [], []
        # READY attachments, and uploads that are not completed.
        self.pictures, self.uploads = [], []
        self.calls, self.devices, self.caller = [], [], None
        # The secret of the authenticator app and the recovery codes, if the account has a second factor.
        self.totp_secret, self.recovery_codes = None, []
        # The authenticator that has a passkey of the account.
        self.authenticator = None
        # Cursors by the name of the connection's field.
        self.cursors = collections.defaultdict(list)
        Person.last_phone += 1
        self.phone = f"+{Person.last_phone}"
        verify = f'contactPoint: {{phone: "{self.phone}"}}, code: "{self.code("VERIFY")}"'
        api.ask(f"mutation {{ verifyContactPoint(input: {{{verify}}}) {{ viewer {{ id }} }} }}", self.token)
        link = f'linkIdentity(input: {{token: "{issuer_token(self.id)}"}}) {{ viewer {{ identities {{ id }} }} }}'
        linked = api.ask(f"mutation {{ {link} }}", self.token)["linkIdentity"]["viewer"]["identities"]
        self.identities = [identity["id"] for identity in linked]
        if friend:
            self.meet(api, friend)

    def code(self, purpose):
        """Requests a code by SMS and receives it."""
        request = f'requestCode(input: {{contactPoint: {{phone: "{self.phone}"}}, purpose: {purpose}}})'
        self.api.ask(f"mutation {{ {request} {{ expiresAt }} }}", self.token)
        return self.api.hook.take(self.phone, purpose)

    def set_up_totp(self):
        """Makes the secret of an authenticator app. Returns the code that puts the app in use."""
        self.totp_secret = self.api.ask("mutation { setUpTotp { secret } }", self.token)["setUpTotp"]["secret"]
        return totp_code(self.totp_secret)

    def enable_totp(self):
        """Puts an authenticator app in use, unless the account has one."""
        if not self.recovery_codes:
            confirm = f'confirmTotp(input: {{code: "{self.set_up_totp()}"}}) {{ recoveryCodes }}'
            self.recovery_codes = self.api.ask(f"mutation {{ {confirm} }}", self.token)["confirmTotp"]["recoveryCodes"]

    def login_challenge(self):
        """Signs in by the password, to an account with a second factor. Returns the challenge."""
        self.enable_totp()
        login = f'login(input: {{identifier: "{self.name}", password: "{self.PASSWORD}"}}) {{ accessToken }}'
        return self.api.send(f"mutation {{ {login} }}").json()["errors"][0]["extensions"]["challenge"]

    def next_totp(self):
        """A code of the authenticator app that was not used yet."""
        self.enable_totp()
        return totp_code(self.totp_secret, 1)

    def recovery_code(self):
        self.enable_totp()
        return self.recovery_codes[0]

    def new_credential(self):
        """The answer of a new authenticator to the options for a new passkey."""
        options = self.api.ask("mutation { passkeyCreationOptions { options } }", self.token)
        self.authenticator = Authenticator()
        return self.authenticator.create(options["passkeyCreationOptions"]["options"])

    def passkey(self):
        """Adds a passkey to the account. Returns its id."""
        credential = json.dumps(self.new_credential())
        add = f'addPasskey(input: {{credential: {credential}, name: "Phone"}}) {{ passkey {{ id }} }}'
        return self.api.ask(f"mutation {{ {add} }}", self.token)["addPasskey"]["passkey"]["id"]

    def passkey_answer(self):
        """The answer of a passkey of the account to the options for a sign-in."""
        self.passkey()
        options = self.api.ask("mutation { passkeyRequestOptions { options } }")
        return self.authenticator.get(options["passkeyRequestOptions"]["options"])

    def endpoint(self):
        """The endpoint of the person's device at a push service."""
        return f"http://127.0.0.1:{self.api.hook.port}/push/{self.name}"

    def push_subscription(self):
        """Registers the person's device for push notifications. Returns the id of the subscription."""
        device = f'endpoint: "{self.endpoint()}", p256dh: "{P256DH}", auth: "{PUSH_AUTH}"'
        register = f"registerPushSubscription(input: {{webPush: {{{device}}}}}) {{ pushSubscription {{ id }} }}"
        answer = self.api.ask(f"mutation {{ {register} }}", self.token)
        return answer["registerPushSubscription"]["pushSubscription"]["id"]

    def registered_endpoint(self):
        self.push_subscription()
        return self.endpoint()

    def meet(self, api, friend):
        self.friends, self.names = [friend.id, self.id], [friend.name, self.name]
        opened = api.ask(
            f'mutation {{ a: openDirectConversation(input: {{userId: "{friend.id}"}}) {{ conversation {{ id }} }}'
            f' b: createGroup(input: {{title: "Weavers", participantIds: ["{friend.id}"]}}) {{ conversation {{ id }} }}'
            " }",
            self.token,
        )
        self.conversations = [payload["conversation"]["id"] for payload in opened.values()]
        for _ in range(2):
            invite = api.ask(
                f'mutation {{ createInvite(input: {{conversationId: "{self.conversations[1]}"}})'
                " { invite { id code } } }",
                self.token,
            )["createInvite"]["invite"]
            self.invites.append(invite["id"])
            self.codes.append(invite["code"])
        self.ban(api, friend)
        for conversation in self.conversations:
            scheduled = api.ask(
                f'mutation {{ scheduleMessage(input: {{conversationId: "{conversation}", body: "Hello",'
                f' sendAt: "{in_days(9)}"}}) {{ scheduledMessage {{ id }} }} }}',
                self.token,
            )
            self.scheduled.append(scheduled["scheduleMessage"]["scheduledMessage"]["id"])
        for sender in (self, friend):
            sends = " ".join(
                f'm{number}: sendMessage(input: {{conversationId: "{conversation}", clientId: "{conversation[-20:]}",'
                ' body: "Hello" }) { message { id } }'
                for number, conversation in enumerate(self.conversations)
            )
            sent = api.ask(f"mutation {{ {sends} }}", sender.token)
            self.messages += [payload["message"]["id"] for payload in sent.values()]
        for uploaded in (self.pictures, self.uploads):
            upload = api.ask(
                f'mutation {{ createUpload(input: {{fileName: "grey.png", contentType: "image/png",'
                f" byteSize: {len(PNG)}}}) {{ attachment {{ id }} url method headers {{ name value }} }} }}",
                self.token,
            )["createUpload"]
            api.put(upload, PNG)
            uploaded.append(upload["attachment"]["id"])
        completed = f'mutation {{ completeUpload(input: {{attachmentId: "{self.pictures[0]}"}})'
        api.ask(completed + " { attachment { state } } }", self.token)
        self.call(api, friend)
        asked = f'mutation {{ sendContactRequest(input: {{userId: "{self.id}"}}) {{ request {{ id }} }} }}'
        self.requests = [api.ask(asked, friend.token)["sendContactRequest"]["request"]["id"]]
        seen = api.ask(
            "{ viewer { conversations { edges { cursor node { messages { edges { cursor } }"
            " participants { edges { cursor node { id } } } } } } } }",
            self.token,
        )["viewer"]["conversations"]["edges"]
        self.cursors["conversations"] = [edge["cursor"] for edge in seen]
        pending = api.ask("{ viewer { scheduledMessages { edges { cursor } } } }", self.token)["viewer"]
        self.cursors["scheduledMessages"] = [edge["cursor"] for edge in pending["scheduledMessages"]["edges"]]
        for edge in seen:
            for name in ("messages", "participants"):
                self.cursors[name] += [it["cursor"] for it in edge["node"][name]["edges"]]
            self.participants += [it["node"]["id"] for it in edge["node"]["participants"]["edges"]]

    def ban(self, api, friend):
        create = f'mutation {{ createGroup(input: {{title: "Bans", participantIds: ["{friend.id}"]}})'
        group = api.ask(create + " { conversation { id } } }", self.token)["createGroup"]["conversation"]["id"]
        remove = f'removeParticipant(input: {{conversationId: "{group}", userId: "{friend.id}", ban: true}})'
        api.ask(f"mutation {{ {remove} {{ conversation {{ id }} }} }}", self.token)
        self.bans, self.banned = [group], [friend.id]

    def call(self, api, friend):
        """Puts the person into a call with the friend, and lets a second call ring for the person. Each caller leaves
        the former call first."""
        stranger = friend.caller = friend.caller or Person(api, f"{friend.name}caller")
        opened = f'mutation {{ openDirectConversation(input: {{userId: "{self.id}"}}) {{ conversation {{ id }} }} }}'
        theirs = api.ask(opened, stranger.token)["openDirectConversation"]["conversation"]["id"]
        for conversation, caller in ((self.conversations[0], friend), (theirs, stranger)):
            for call in caller.calls:
                api.ask(f'mutation {{ leaveCall(input: {{callId: "{call}"}}) {{ call {{ id }} }} }}', caller.token)
            started = api.ask(
                f'mutation {{ startCall(input: {{conversationId: "{conversation}", kind: VIDEO}}) {{ call {{ id }} }} }}',
                caller.token,
            )
            caller.calls = [started["startCall"]["call"]["id"]]
            self.calls += caller.calls
        api.ask(f'mutation {{ acceptCall(input: {{callId: "{self.calls[0]}"}}) {{ call {{ id }} }} }}', self.token)
        self.devices = friend.sessions

    @property
    def ids(self):
        mine = self.friends + self.sessions + self.requests + self.invites + self.scheduled + self.pictures + self.calls
        return mine + self.conversations + self.messages + self.participants

    def any_id(self, random):
        return [random.choice(self.ids)]


class People:
    """The accounts that send the requests. A mutation that had an effect may have ended the session or changed the
    password of its account, so a new account sends the next request."""

    def __init__(self, api):
        self.api = api
        self.made = 0
        self.friend = self.make(None)
        self.current = self.make(self.friend)

    def make(self, friend):
        self.made += 1
        return Person(self.api, f"weaver{self.made}", friend)

    def token(self, label):
        """The access token for a request of this field. Only a guest can be upgraded, and only an account with a second
        factor can remove or change it."""
        if label.endswith(".upgradeGuest"):
            return self.api.ask("mutation { createGuest(input: {}) { accessToken } }")["createGuest"]["accessToken"]
        if label.endswith((".disableTotp", ".regenerateRecoveryCodes")):
            self.current.enable_totp()
        return self.current.token

    def settle(self, did_something):
        # An account with a second factor cannot sign in by its password alone.
        did_something = did_something or bool(self.current.recovery_codes)
        if did_something or "errors" in self.api.send("{ viewer { id } }", self.current.token).json():
            self.current = self.make(self.friend)


def in_days(days):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + days * 86400))


# Values that need preparation, by the mutation and the input field.
PREPARED = {
    ("addPasskey", "credential"): Person.new_credential,
    ("completeLogin", "challenge"): Person.login_challenge,
    ("completeLogin", "recoveryCode"): Person.recovery_code,
    ("completeLogin", "totp"): Person.next_totp,
    ("confirmIdentity", "passkey"): Person.passkey_answer,
    ("confirmTotp", "code"): Person.set_up_totp,
    ("loginWithPasskey", "credential"): Person.passkey_answer,
    ("registerPushSubscription", "endpoint"): Person.endpoint,
    ("removePasskey", "passkeyId"): Person.passkey,
    ("removePushSubscription", "endpoint"): Person.registered_endpoint,
    ("removePushSubscription", "id"): Person.push_subscription,
    ("renamePasskey", "passkeyId"): Person.passkey,
}


def meaningful(field, name, person, random):
    """A meaningful value for the argument or input field of this name, or None if a random value will do."""
    if (field, name) in PREPARED:
        return nodes.String(PREPARED[field, name](person))
    if field in PURPOSES and name == "phone":
        return nodes.String(person.phone)
    if field in PURPOSES and name == "code":
        return nodes.String(person.code(PURPOSES[field]))
    if field in PURPOSES and name == "challenge":
        # The newest code is compared.
        return nodes.Null
    unique = f"{random.getrandbits(40):010x}"
    values = {
        "after": [None, *person.cursors[field]],
        "attachmentId": person.uploads,
        "auth": [PUSH_AUTH],
        "avatarId": [None, *person.pictures],
        "before": [None, *person.cursors[field]],
        "body": ["Hello", "a" * 8000, "a" * 8001, "\u200d\U0001f9f5"],
        "byteSize": [1, 1000, 2**30],
        "callId": {"sendCallSignal": person.calls[:1]}.get(field, person.calls),
        "candidate": ["", "candidate:1 1 udp 2113937151 192.0.2.1 54400 typ host", "candidate:1"],
        "clientId": ["1", unique],
        "code": person.codes,
        "contentType": ["image/png", "text/plain", "*/*"],
        "conversationId": {"unbanUser": person.bans}.get(field, person.conversations),
        "currentPassword": [person.PASSWORD],
        "displayName": ["Ada", unique],
        "emoji": ["\U0001f44d", "\u2764", "a"],
        "email": [f"{unique}@example.org"],
        "expiresAt": [None, in_days(1), in_days(300), in_days(-1)],
        "expiresIn": [None, 1, 3600],
        "fileName": ["grey.png", "../grey.png", ".."],
        "first": [None, 1, 2, 20, 100, 101],
        "from": ["22:00", "00:00", "23:59", "24:00"],
        "id": {"conversation": person.conversations, "user": person.friends}.get(field, person.any_id(random)),
        "identifier": person.names,
        "identityId": person.identities,
        "inviteId": person.invites,
        "last": [None, 1, 2, 20, 100, 101],
        "maxUses": [None, 0, 1, 100],
        "messageId": person.messages,
        "name": ["Phone", unique],
        "newPassword": [f"a loom of {unique}", person.PASSWORD],
        "p256dh": [P256DH],
        "password": [person.PASSWORD],
        "phone": [f"+49151{random.randrange(10**7, 10**8)}"],
        "query": ["weaver", "Hello", person.name, "%", "_"],
        "replyToId": [None, *person.messages],
        "refreshToken": [person.refresh_token],
        "requestId": person.requests,
        "scheduledMessageId": person.scheduled,
        "sdp": ["v=0\r\n", ""],
        "sendAt": [in_days(1), in_days(300), in_days(400)],
        "senderId": person.friends,
        "sessionId": person.sessions,
        "sha256": [None, "0" * 64],
        "timeZone": ["Europe/Berlin", "UTC", "America/St_Johns", "Nowhere/Nothing"],
        "title": ["Weavers", unique],
        "to": ["07:00", "12:30", "7:00"],
        "token": [issuer_token(unique if field in ("signInWithToken", "linkIdentity") else person.id)],
        "toSessionId": person.devices,
        "userId": {"unbanUser": person.banned}.get(field, person.friends),
        "username": [random.choice(person.names), f"w{unique}"],
    }.get(name)
    lists = {
        "attachmentIds": person.pictures,
        "conversationIds": person.conversations,
        "ids": person.ids,
        "messageIds": person.messages,
        "participantIds": person.friends,
        "userIds": person.friends,
    }
    if name in lists:
        ids = lists[name]
        return nodes.List([nodes.String(id) for id in random.sample(ids, random.randint(0, len(ids)))])
    if not values:
        return None
    value = random.choice(values)
    if value is None:
        return nodes.Null
    return nodes.Int(value) if isinstance(value, int) else nodes.String(value)


class Meaning(graphql.Visitor):
    """Replaces most random arguments by values that exist, so that the resolvers find data."""

    def __init__(self, types, person, random):
        super().__init__()
        self.types, self.person, self.random = types, person, random
        self.fields = []

    def enter_field(self, node, *_):
        """Removes the arguments of one direction if the field has both, because a client pages in one direction."""
        self.fields.append(node.name.value)
        names = {argument.name.value for argument in node.arguments or ()}
        if {"first", "last"} <= names and self.random.random() < MEANINGFUL:
            dropped = self.random.choice([("first", "after"), ("last", "before")])
            kept = tuple(it for it in node.arguments if it.name.value not in dropped)
            return dataclasses.replace(node, arguments=kept)
        return None

    def leave_field(self, *_):
        self.fields.pop()

    def enter_object_value(self, node, *_):
        """Keeps one field of a oneOf input, because the generator does not know that only one is allowed."""
        input_type = graphql.get_named_type(self.types.get_input_type())
        if getattr(input_type, "is_one_of", False) and len(node.fields or ()) > 1 and self.random.random() < MEANINGFUL:
            return dataclasses.replace(node, fields=(self.random.choice(node.fields),))
        return None

    def replace(self, node, *_):
        # The fields of an input object are replaced one by one.
        if graphql.is_input_object_type(graphql.get_named_type(self.types.get_input_type())):
            return None
        value = meaningful(self.fields[-1], node.name.value, self.person, self.random)
        if value is None and graphql.get_named_type(self.types.get_input_type()) is graphql.GraphQLID:
            value = nodes.String(*self.person.any_id(self.random))
        if value is not None and self.random.random() < MEANINGFUL:
            return dataclasses.replace(node, value=value)
        return None

    enter_argument = enter_object_field = replace


def with_meaning(document, schema, person, random):
    types = graphql.TypeInfo(schema)
    visitor = graphql.TypeInfoVisitor(types, Meaning(types, person, random))
    return graphql.print_ast(graphql.visit(graphql.parse(document), visitor))


class Report:
    """Counts the answers and collects the failures."""

    def __init__(self):
        self.failures = []
        self.answers = collections.Counter()
        self.with_data = collections.Counter()
        self.codes = collections.Counter()

    def record(self, label, kind, document, response):
        """Records an answer. Returns whether the operation may have had an effect."""

        def fail(why):
            self.failures.append(f"{label}, {kind}: {why}\n  {document!r}\n  {response.status_code} {response.text}")

        self.answers[label, kind] += 1
        if response.status_code >= 500:
            fail("an internal error")
        try:
            answer = response.json()
            errors, data = answer.get("errors", []), answer.get("data")
            codes = [error["extensions"]["code"] for error in errors]
        except (ValueError, AttributeError, KeyError):
            fail("not a GraphQL answer, or an error without a code")
            return True
        self.codes.update(codes)
        if any(code in FORBIDDEN_CODES for code in codes):
            fail("an error code that shows a defect")
        if not errors and data is None:
            fail("neither data nor errors")
        if kind == "invalid" and not errors:
            fail("the server accepted a request that does not fit the schema")
        found = data is not None and any(value is not None for value in data.values())
        self.with_data[label, kind] += found
        # An error with a longer path is in the payload, so the operation itself has succeeded.
        return data is not None or any(len(error.get("path", [])) > 1 for error in errors)

    def total(self, counter, kind):
        return sum(count for (_, its_kind), count in counter.items() if its_kind == kind)

    def judge(self, labels):
        """Prints the summary. Returns whether there were no failures."""
        for label in labels:
            kinds = ("signed in", "anonymous", "invalid")
            counts = [f"{kind} {self.with_data[label, kind]}/{self.answers[label, kind]}" for kind in kinds]
            print(f"  {label:34} {', '.join(counts)}")
        print("  errors: " + ", ".join(f"{code} {count}" for code, count in self.codes.most_common()))
        asked, found = (self.total(counter, "signed in") for counter in (self.answers, self.with_data))
        print(f"{sum(self.answers.values())} requests; {found} of {asked} answers to a signed-in user had data")
        if found * 100 < asked * MIN_WITH_DATA:
            self.failures.append(f"only {found} of {asked} answers to a signed-in user had data")
        for label in labels:
            if not self.with_data[label, "signed in"]:
                self.failures.append(f"{label} never had data: check that meaningful() has values for its arguments")
        for failure in self.failures[:MAX_SHOWN_FAILURES]:
            print(failure, file=sys.stderr)
        if len(self.failures) > MAX_SHOWN_FAILURES:
            print(f"and {len(self.failures) - MAX_SHOWN_FAILURES} more", file=sys.stderr)
        return not self.failures


def fuzz(operation, kind, examples, seed, people, report):
    mode = GenerationMode.NEGATIVE if kind == "invalid" else GenerationMode.POSITIVE
    schema, api = operation.schema.client_schema, people.api
    # Not the random numbers of hypothesis, which repeat too often for a choice among few values.
    random = Random(f"{seed} {operation.label} {kind}")

    # One request for each example, without shrinking: the server has state, so a repeated request may get another
    # answer. A failure shows the request as it was sent.
    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(operation.as_strategy(generation_mode=mode))
    def ask(case):
        document = case.body
        # A field without arguments has no invalid case. The generator returns a valid one.
        if case.meta.generation.mode.is_positive and kind == "invalid":
            return
        if kind != "invalid":
            document = with_meaning(document, schema, people.current, random)
        response = api.send(document, None if kind == "anonymous" else people.token(operation.label))
        did_something = report.record(operation.label, kind, document, response)
        # Only a mutation can end a session or change a password.
        if operation.definition.is_mutation:
            people.settle(did_something)

    ask()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="URL of the GraphQL endpoint")
    parser.add_argument("--hook-port", type=int, required=True, help="port at which the server's SMS arrive")
    parser.add_argument("--examples", type=int, default=30, help="requests of a signed-in user for each field")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random requests")
    options = parser.parse_args()

    started = time.monotonic()
    # The default introspection query does not ask for isOneOf.
    introspection = {"query": graphql.get_introspection_query(one_of=True)}
    schema = schemathesis.graphql.from_url(options.url, json=introspection, proxies={"http": "", "https": ""})
    operations = [result.ok() for result in schema.get_all_operations()]
    report, people = Report(), People(Api(options.url, Hook(options.hook_port)))
    few = max(1, options.examples // 5)
    for operation in operations:
        for kind, examples in (("signed in", options.examples), ("anonymous", few), ("invalid", few)):
            fuzz(operation, kind, examples, options.seed, people, report)
    well = report.judge([operation.label for operation in operations])
    print(f"{people.made} accounts, {time.monotonic() - started:.0f} s")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
