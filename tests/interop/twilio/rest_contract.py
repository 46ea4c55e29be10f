#!/usr/bin/env python3
"""The REST contract, judged by the unmodified twilio-python client library.

    rest_contract.py [--api-base URL --account-sid AC... --auth-token ...] [--to sip:...] [--webhook URL]

Without arguments the same values come from TANDEM_API_BASE, TANDEM_ACCOUNT_SID, TANDEM_AUTH_TOKEN, or from the
JSON file named by --endpoints (`endpoints.json` of `tandem up`). --foreign-account-sid/--foreign-auth-token name
another tenant; without them the script makes a sub-account and uses that as the stranger below it.

On a real switch --to must be a SIP URI that answers within 10 s and stays up until it is hung up; calls
are made with inline TwiML (a long Pause). Exit status 0: every check passed; 1: some failed, each printed.
"""

import argparse
import json
import os
import sys
import time
import traceback
from datetime import datetime, timedelta, timezone

from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.rest import Client

PAUSE = "<Response><Pause length='60'/></Response>"
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


class World:
    def __init__(self, options):
        self.options = options
        self.client = self.login(options.account_sid, options.auth_token)

    def login(self, username, secret, account=None):
        client = Client(username, secret, account or username)
        client.api.base_url = self.options.api_base.rstrip("/")
        client.trunking.base_url = client.api.base_url
        return client

    def create(self, **more):
        return self.client.calls.create(
            **{"to": self.options.to, "from_": self.options.caller, "twiml": PAUSE, **more}
        )

    def wait(self, sid, statuses, seconds=15):
        deadline = time.monotonic() + seconds
        while True:
            call = self.client.calls(sid).fetch()
            if call.status in statuses or time.monotonic() > deadline:
                assert call.status in statuses, f"{sid} is {call.status}, wanted {statuses}"
                return call
            time.sleep(0.1)


def refused(http_status, code, function, *args, **kwargs):
    """The library raises TwilioRestException for instances; for lists a TwilioException with the response in it."""
    try:
        function(*args, **kwargs)
    except TwilioRestException as error:
        got = (error.status, error.code)
        assert got == (http_status, code), f"{got}: {error.msg}"
        assert error.msg and error.uri
        return
    except TwilioException as error:
        response = error.args[1]
        got = (response.status_code, json.loads(response.text)["code"])
        assert got == (http_status, code), f"{got}: {response.text}"
        return
    raise AssertionError(f"not refused: wanted {http_status}/{code}")


@check
def call_is_created_fetched_redirected_and_completed(world):
    call = world.create(
        timeout=20,
        time_limit=120,
        status_callback=world.options.webhook,
        status_callback_event=["initiated", "ringing", "answered", "completed"],
        status_callback_method="POST",
        record=False,
        trim="do-not-trim",
    )
    assert call.sid.startswith("CA") and len(call.sid) == 34, call.sid
    assert call.account_sid == world.options.account_sid
    assert call.status in ("queued", "initiated", "ringing", "in-progress"), call.status
    assert call.direction == "outbound-api" and call.to == world.options.to
    assert call.duration is None and call.price is None
    assert isinstance(call.date_created, datetime) and call.date_created.tzinfo is not None
    standing = world.wait(call.sid, ("in-progress",))
    assert isinstance(standing.start_time, datetime) and standing.end_time is None
    redirected = world.client.calls(call.sid).update(twiml=PAUSE)
    assert redirected.sid == call.sid and redirected.status == "in-progress"
    if world.options.webhook:
        redirected = standing.update(url=world.options.webhook, method="POST")
        assert redirected.sid == call.sid
    world.client.calls(call.sid).update(status="completed")
    ended = world.wait(call.sid, ("completed",))
    assert isinstance(ended.end_time, datetime) and ended.end_time >= ended.start_time
    assert isinstance(ended.duration, str) and int(ended.duration) >= 0, ended.duration
    refused(400, 21220, world.client.calls(call.sid).update, twiml=PAUSE)


@check
def a_dialled_leg_leaves_its_dial_and_ended_calls_are_deleted(world):
    if not world.options.webhook:
        return  # not a real switch: nothing is dialled
    client = world.client
    dial = f"<Response><Dial><Sip>{world.options.to}</Sip></Dial><Pause length='60'/></Response>"
    call = world.create(twiml=dial)
    world.wait(call.sid, ("in-progress",))
    deadline = time.monotonic() + 15
    children = []
    while not children or children[0].status != "in-progress":
        children = client.calls.list(parent_call_sid=call.sid)
        assert time.monotonic() < deadline, children
        time.sleep(0.1)
    child = children[0]
    moved = client.calls(child.sid).update(twiml=PAUSE)
    assert moved.sid == child.sid and moved.parent_call_sid == call.sid
    assert moved.status == "in-progress"
    client.calls(call.sid).update(status="completed")
    world.wait(call.sid, ("completed",))
    time.sleep(0.5)
    assert client.calls(child.sid).fetch().status == "in-progress", "it outlives its parent"
    refused(400, 20009, client.calls(child.sid).delete)
    client.calls(child.sid).update(status="completed")
    world.wait(child.sid, ("completed",))
    for sid in (child.sid, call.sid):
        assert client.calls(sid).delete()
        refused(404, 20404, client.calls(sid).fetch)
    assert not client.calls.list(parent_call_sid=call.sid)


@check
def call_is_canceled_or_completed_before_answer(world):
    call = world.create(timeout=5)
    update = world.client.calls(call.sid).update(status="completed")
    assert update.sid == call.sid
    world.wait(call.sid, ("completed", "canceled", "no-answer", "busy", "failed"))


@check
def calls_are_listed_over_pages(world):
    made = [world.create(timeout=5).sid for _ in range(5)]
    for sid in made:
        world.client.calls(sid).update(status="completed")
    listed = [call.sid for call in world.client.calls.list(limit=5, page_size=2)]
    assert len(listed) == 5 and set(listed) == set(made), (listed, made)
    page = world.client.calls.page(page_size=2)
    first = [call.sid for call in page]
    assert len(first) == 2
    second_page = page.next_page()
    second = [call.sid for call in second_page]
    assert len(second) == 2 and not set(first) & set(second)
    assert [call.sid for call in second_page.previous_page()] == first
    everything = [call.sid for call in world.client.calls.stream(page_size=3)]
    assert len(everything) == len(set(everything)) and set(made) <= set(everything)


@check
def calls_are_filtered(world):
    call = world.create(timeout=5)
    world.client.calls(call.sid).update(status="completed")
    created = call.date_created
    sids = lambda **filters: {it.sid for it in world.client.calls.list(page_size=100, **filters)}
    assert call.sid in sids(to=world.options.to)
    assert call.sid not in sids(to="sip:nobody@nowhere.invalid")
    hour = timedelta(hours=1)
    assert call.sid in sids(start_time_after=created - hour, start_time_before=created + hour)
    assert call.sid not in sids(start_time_after=created + hour)
    assert call.sid not in sids(status="busy")


@check
def wrong_parameters_become_exceptions(world):
    client = world.client
    refused(400, 21211, world.create, to="not a number")
    refused(400, 21205, client.calls.create, to=world.options.to, from_=world.options.caller)
    refused(400, 21205, world.create, url="ftp://example.com/", twiml="")
    refused(400, 20001, world.create, record=True)
    refused(400, 20001, world.create, machine_detection="Enable")
    refused(400, 21218, world.create, application_sid="AP" + "0" * 32)


@check
def unknown_things_are_404(world):
    client = world.client
    refused(404, 20404, client.calls("CA" + "0" * 31 + "1").fetch)
    refused(404, 20404, client.calls("CA" + "0" * 31 + "1").update, status="completed")
    refused(404, 20404, client.applications("AP" + "0" * 31 + "1").fetch)
    refused(404, 20404, client.incoming_phone_numbers("PN" + "0" * 31 + "1").fetch)
    refused(404, 20404, client.keys("SK" + "0" * 31 + "1").fetch)
    refused(404, 20404, client.sip.domains("SD" + "0" * 31 + "1").fetch)


@check
def wrong_credentials_are_401(world):
    sid = world.options.account_sid
    refused(401, 20003, world.login(sid, "wrong").calls.list, limit=1)
    refused(401, 20003, world.login("AC" + "0" * 32, world.options.auth_token).calls.list, limit=1)
    refused(401, 20003, world.login("SK" + "0" * 32, "x", sid).calls.list, limit=1)


@check
def another_tenants_things_are_404(world):
    options = world.options
    call = world.create(timeout=5)
    world.client.calls(call.sid).update(status="completed")
    if options.foreign_account_sid:
        stranger = world.login(options.foreign_account_sid, options.foreign_auth_token)
        other = options.foreign_account_sid
        refused(404, 20404, world.client.api.accounts(other).calls.list, limit=1)
    else:
        account = world.client.api.accounts.create(friendly_name="Interop stranger")
        stranger = world.login(account.sid, account.auth_token)
    refused(404, 20404, stranger.calls(call.sid).fetch)
    refused(404, 20404, stranger.calls(call.sid).update, status="completed")
    refused(404, 20404, stranger.api.accounts(options.account_sid).calls(call.sid).fetch)
    refused(404, 20404, stranger.api.accounts(options.account_sid).fetch)
    assert call.sid not in {it.sid for it in stranger.calls.list(limit=50)}


@check
def parent_addresses_its_sub_account(world):
    account = world.client.api.accounts.create(friendly_name="Interop sub-account")
    assert account.status == "active" and account.owner_account_sid == world.options.account_sid
    sub = world.client.api.accounts(account.sid)
    application = sub.applications.create(friendly_name="below")
    assert application.account_sid == account.sid
    own = world.login(account.sid, account.auth_token)
    assert own.applications(application.sid).fetch().friendly_name == "below"
    refused(404, 20404, world.client.applications(application.sid).fetch)
    assert sub.update(status="suspended").status == "suspended"
    refused(403, 20005, own.applications.create, friendly_name="no")
    assert sub.update(status="closed").status == "closed"
    refused(401, 20003, own.applications.list, limit=1)


@check
def applications_live_and_die(world):
    client = world.client
    made = client.applications.create(
        friendly_name="Interop",
        voice_url="https://app.example.com/voice",
        voice_method="GET",
        voice_fallback_url="https://app.example.com/fallback",
        status_callback="https://app.example.com/status",
    )
    assert made.voice_method == "GET" and made.voice_url.endswith("/voice")
    changed = client.applications(made.sid).update(friendly_name="Interop 2", voice_method="POST")
    assert (changed.friendly_name, changed.voice_method) == ("Interop 2", "POST")
    assert made.sid in {it.sid for it in client.applications.list(friendly_name="Interop 2")}
    assert made.delete() is True
    refused(404, 20404, client.applications(made.sid).fetch)
    refused(400, 21402, client.applications.create, voice_url="app.example.com")


@check
def numbers_domains_and_their_networks(world):
    client = world.client
    mark = str(time.time_ns())[-9:]
    number = client.incoming_phone_numbers.create(
        phone_number=f"+1999{mark}", voice_url="https://app.example.com/voice"
    )
    assert number.phone_number == f"+1999{mark}" and number.capabilities["voice"] is True
    found = client.incoming_phone_numbers.list(phone_number=mark)
    assert [it.sid for it in found] == [number.sid]
    number = number.update(friendly_name="desk", status_callback="https://app.example.com/status")
    assert number.friendly_name == "desk"
    domain = client.sip.domains.create(
        domain_name=f"d{mark}.example.com", voice_url="https://app.example.com/sip"
    )
    acl = client.sip.ip_access_control_lists("AL" + domain.sid[2:])
    address = acl.ip_addresses.create(
        friendly_name="net", ip_address="192.0.2.0", cidr_prefix_length=24
    )
    assert [it.sid for it in acl.ip_addresses.list()] == [address.sid]
    mappings = client.sip.domains(domain.sid).ip_access_control_list_mappings.list()
    assert [it.sid for it in mappings] == ["AL" + domain.sid[2:]]
    assert acl.fetch().sid in {it.sid for it in client.sip.ip_access_control_lists.list()}
    assert address.delete() and acl.ip_addresses.list() == []
    assert domain.update(voice_method="GET").voice_method == "GET"
    assert domain.delete() and number.delete()
    refused(404, 20404, client.sip.domains(domain.sid).fetch)


@check
def credentials_and_what_domains_take(world):
    client = world.client
    mark = str(time.time_ns())[-9:]
    domain = client.sip.domains.create(domain_name=f"c{mark}.example.com", sip_registration=True)
    assert domain.sip_registration is True and domain.auth_type == ""
    phones = client.sip.credential_lists.create(friendly_name="phones")
    alice = phones.credentials.create(username="alice", password="Secret-of-Alice-1")
    assert alice.username == "alice" and alice.credential_list_sid == phones.sid
    refused(400, 21243, phones.credentials.create, username="bob", password="too-simple")
    refused(409, 20409, phones.credentials.create, username="alice", password="Secret-of-Alice-1")
    for number in range(5):
        phones.credentials.create(username=f"p{number}", password="Secret-of-Phone-1")
    names = {it.username for it in phones.credentials.list(page_size=2)}
    assert names == {"alice", "p0", "p1", "p2", "p3", "p4"}, names
    assert alice.update(password="Secret-of-Alice-2").sid == alice.sid
    renamed = client.sip.credential_lists(phones.sid).update("desk phones")
    assert renamed.friendly_name == "desk phones"
    auth = client.sip.domains(domain.sid).auth
    calls = auth.calls.credential_list_mappings.create(credential_list_sid=phones.sid)
    registrations = auth.registrations.credential_list_mappings.create(
        credential_list_sid=phones.sid
    )
    assert calls.sid == registrations.sid == phones.sid
    for mappings in (
        auth.calls.credential_list_mappings,
        auth.registrations.credential_list_mappings,
        client.sip.domains(domain.sid).credential_list_mappings,
    ):
        found = [(it.sid, it.friendly_name) for it in mappings.list()]
        assert found == [(phones.sid, "desk phones")], found
    networks = auth.calls.ip_access_control_list_mappings.list()
    assert [it.sid for it in networks] == ["AL" + domain.sid[2:]]
    assert domain.fetch().auth_type == "CREDENTIAL_LIST"
    refused(400, 21241, phones.delete)
    assert auth.registrations.credential_list_mappings(phones.sid).delete()
    assert auth.registrations.credential_list_mappings.list() == []
    assert domain.update(sip_registration=False).sip_registration is False
    assert domain.delete() and phones.delete()
    refused(404, 20404, client.sip.credential_lists(phones.sid).credentials(alice.sid).fetch)


@check
def lists_of_networks_are_shared(world):
    client = world.client
    mark = str(time.time_ns())[-9:]
    offices = client.sip.ip_access_control_lists.create(friendly_name="offices")
    one = offices.ip_addresses.create(friendly_name="one", ip_address="192.0.2.7")
    assert (one.cidr_prefix_length, one.ip_access_control_list_sid) == (32, offices.sid)
    assert one.update(cidr_prefix_length=28).cidr_prefix_length == 28
    refused(400, 21238, offices.ip_addresses.create, friendly_name="x", ip_address="192.0.2.300")
    refused(400, 21238, offices.ip_addresses.create, friendly_name="x", ip_address="192.0.2.8", cidr_prefix_length=33)
    for number in range(24):
        offices.ip_addresses.create(friendly_name="more", ip_address=f"198.51.100.{number}")
    refused(400, 21237, offices.ip_addresses.create, friendly_name="x", ip_address="198.51.100.77")
    assert len(offices.ip_addresses.list(page_size=7)) == 25
    domain = client.sip.domains.create(domain_name=f"n{mark}.example.com")
    for mappings in (
        client.sip.domains(domain.sid).ip_access_control_list_mappings,
        client.sip.domains(domain.sid).auth.calls.ip_access_control_list_mappings,
    ):
        assert mappings.create(ip_access_control_list_sid=offices.sid).sid == offices.sid
        assert offices.sid in {it.sid for it in mappings.list()}
    assert domain.fetch().auth_type == "IP_ACL"
    refused(400, 21236, offices.delete)
    assert client.sip.domains(domain.sid).ip_access_control_list_mappings(offices.sid).delete()
    assert offices.update(friendly_name="all").friendly_name == "all"
    assert domain.delete() and offices.delete()


@check
def trunks_and_what_is_below_them(world):
    client = world.client
    mark = str(time.time_ns())[-9:]
    trunk = client.trunking.v1.trunks.create(
        friendly_name="Office", domain_name=f"t{mark}.example.com", transfer_mode="sip-only"
    )
    assert (trunk.transfer_mode, trunk.transfer_caller_id) == ("sip-only", "from-transferee")
    assert isinstance(trunk.date_created, datetime) and trunk.secure is False
    refused(400, 21248, client.trunking.v1.trunks.create, domain_name=f"t{mark}.example.com")
    refused(400, 21248, client.sip.domains.create, domain_name=f"t{mark}.example.com")
    refused(400, 21245, client.trunking.v1.trunks.create, domain_name="127.0.0.1")
    assert trunk.update(secure=True).secure is True and trunk.update(secure=False).secure is False
    urls = trunk.origination_urls
    given = {"weight": 1, "priority": 1, "enabled": True, "friendly_name": "PBX"}
    for hostile in ("sip:169.254.169.254", "sip:0.0.0.0", "http://pbx.example.com", "sips:a.example"):
        refused(400, 21245, urls.create, sip_url=hostile, **given)
    one = urls.create(sip_url="sip:pbx.example.com", **given)
    assert one.update(priority=7, enabled=False).priority == 7
    for number in range(9):
        urls.create(sip_url=f"sip:pbx{number}.example.com", **given)
    refused(400, 21249, urls.create, sip_url="sip:more.example.com", **given)
    assert len(urls.list(page_size=3)) == 10
    assert one.delete() and len(urls.list()) == 9
    offices = client.sip.ip_access_control_lists.create(friendly_name="offices")
    phones = client.sip.credential_lists.create(friendly_name="phones")
    trunk.ip_access_control_lists.create(ip_access_control_list_sid=offices.sid)
    trunk.credentials_lists.create(credential_list_sid=phones.sid)
    shown = client.trunking.v1.trunks(trunk.sid).fetch()
    assert shown.auth_type_set == ["IP_ACL", "CREDENTIAL_LIST"], shown.auth_type_set
    assert [it.sid for it in trunk.credentials_lists.list()] == [phones.sid]
    refused(400, 21236, offices.delete)
    refused(400, 21241, phones.delete)
    number = client.incoming_phone_numbers.create(phone_number=f"+1555{mark[-7:]}")
    attached = trunk.phone_numbers.create(phone_number_sid=number.sid)
    assert (attached.trunk_sid, attached.phone_number) == (trunk.sid, number.phone_number)
    assert client.incoming_phone_numbers(number.sid).fetch().trunk_sid == trunk.sid
    assert [it.sid for it in trunk.phone_numbers.list()] == [number.sid]
    refused(400, 21247, trunk.delete)
    recording = client.trunking.v1.trunks(trunk.sid).recordings()
    assert recording.update(mode="record-from-answer", trim="trim-silence").mode == "record-from-answer"
    assert recording.fetch().trim == "trim-silence"
    assert attached.delete()
    refused(404, 20404, trunk.phone_numbers(number.sid).fetch)
    assert trunk.ip_access_control_lists(offices.sid).delete()
    assert trunk.sid in {it.sid for it in client.trunking.v1.trunks.list(page_size=1)}
    assert trunk.delete() and number.delete() and offices.delete() and phones.delete()
    refused(404, 20404, client.trunking.v1.trunks(trunk.sid).fetch)


@check
def keys_log_in(world):
    made = world.client.new_keys.create(friendly_name="Interop")
    assert made.sid.startswith("SK") and made.secret
    key = world.login(made.sid, made.secret, world.options.account_sid)
    key.calls.list(limit=1)
    refused(403, 20403, key.keys.list)
    assert made.sid in {it.sid for it in world.client.keys.list()}
    assert world.client.keys(made.sid).update(friendly_name="x").friendly_name == "x"
    assert world.client.keys(made.sid).delete()
    refused(401, 20003, key.calls.list, limit=1)


@check
def auth_tokens_change_with_overlap(world):
    """Of a sub-account, so that everybody else's login stays."""
    sub = world.client.api.accounts.create(friendly_name="Rotates")
    first = world.login(sub.sid, sub.auth_token, sub.sid)
    first.accounts.base_url = world.options.api_base
    second = first.accounts.v1.secondary_auth_token().create().secondary_auth_token
    other = world.login(sub.sid, second, sub.sid)
    other.accounts.base_url = world.options.api_base
    first.calls.list(limit=1)
    other.calls.list(limit=1)
    promoted = other.accounts.v1.auth_token_promotion().update()
    assert promoted.auth_token == second and promoted.account_sid == sub.sid
    refused(401, 20003, first.calls.list, limit=1)
    other.calls.list(limit=1)
    third = other.accounts.v1.secondary_auth_token().create().secondary_auth_token
    assert other.accounts.v1.secondary_auth_token().delete()
    refused(401, 20003, world.login(sub.sid, third, sub.sid).calls.list, limit=1)
    other.calls.list(limit=1)


@check
def accounts_usage_and_notifications_are_read(world):
    client = world.client
    account = client.api.accounts(world.options.account_sid).fetch()
    assert account.sid == world.options.account_sid and account.status == "active"
    assert account.sid in {it.sid for it in client.api.accounts.list()}
    total = {it.category: it for it in client.usage.records.all_time.list()}
    assert {"sip-ingress", "sip-egress", "media-relay", "calls", "totalprice"} <= set(total)
    assert int(total["calls"].count) == sum(
        int(total[it].count) for it in ("sip-ingress", "sip-egress")
    )
    daily = [it for it in client.usage.records.daily.list() if it.category == "calls"]
    assert sum(int(it.count) for it in daily) == int(total["calls"].count)
    today = datetime.now(timezone.utc).date()
    client.usage.records.list(category="calls", start_date=today, end_date=today)
    for records in ("today", "yesterday", "this_month", "last_month", "monthly", "yearly"):
        getattr(client.usage.records, records).list()
    for notification in client.notifications.list(limit=3):
        assert client.notifications(notification.sid).fetch().sid == notification.sid


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    env = os.environ.get
    parser.add_argument("--endpoints", help="endpoints.json of a running switch")
    parser.add_argument("--api-base", default=env("TANDEM_API_BASE"))
    parser.add_argument("--account-sid", default=env("TANDEM_ACCOUNT_SID"))
    parser.add_argument("--auth-token", default=env("TANDEM_AUTH_TOKEN"))
    parser.add_argument("--foreign-account-sid", default=env("TANDEM_FOREIGN_ACCOUNT_SID"))
    parser.add_argument("--foreign-auth-token", default=env("TANDEM_FOREIGN_AUTH_TOKEN"))
    parser.add_argument("--to", default=env("TANDEM_TO", "sip:callee@127.0.0.1:5090"))
    parser.add_argument("--caller", default=env("TANDEM_CALLER", "+15550100"))
    parser.add_argument("--webhook", default=env("TANDEM_WEBHOOK"), help="URL for callbacks")
    parser.add_argument("--only", action="append", default=[], help="part of a check's name")
    chosen = parser.parse_args()
    if chosen.endpoints:
        with open(chosen.endpoints, encoding="utf-8") as file:
            for name, value in json.load(file).items():
                if hasattr(chosen, name) and getattr(chosen, name) is None:
                    setattr(chosen, name, value)
    missing = [it for it in ("api_base", "account_sid", "auth_token") if not getattr(chosen, it)]
    if missing:
        parser.error("missing: " + ", ".join(missing))
    return chosen


def main():
    world = World(options())
    failed = 0
    for function in CHECKS:
        if world.options.only and not any(part in function.__name__ for part in world.options.only):
            continue
        try:
            function(world)
            print(f"ok      {function.__name__}", flush=True)
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print(f"FAILED  {function.__name__}", flush=True)
            traceback.print_exc()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
