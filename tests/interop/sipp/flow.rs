//! SIPp scenarios put together from steps: for flows that differ from each other in a step or two.

use std::fmt::Write as _;

/// A side's steps, as SIPp reads them.
pub(crate) struct Flow {
    is_caller: bool,
    steps: String,
    /// Of the last request that was sent, and of the last INVITE.
    sequence: u32,
    invite: u32,
    /// Variables that were set; SIPp wants each of them used.
    variables: Vec<String>,
}

/// What a message describes.
#[derive(Clone, Copy)]
pub(crate) enum Body<'a> {
    Nothing,
    /// A version of its description, the direction, and where it wants media.
    Sdp(u32, &'a str, &'a str),
    /// A type and the lines.
    Lines(&'a str, &'a str),
}

/// The first description of each side.
pub(crate) const FIRST: Body<'static> = Body::Sdp(1, "sendrecv", "[local_ip]");

/// All that says which way a request came, as it stands in front of the other headers.
const WAY: &str = "((Record-Route|Via): .*)Max-Forwards:";
/// What is kept of each INVITE inside a dialog.
const AGAIN: &[(&str, &str)] = &[("again_way", WAY), ("again_cseq", "CSeq:")];

impl Flow {
    pub(crate) fn caller() -> Self {
        Self::new(true)
    }

    pub(crate) fn callee() -> Self {
        Self::new(false)
    }

    fn new(is_caller: bool) -> Self {
        Self { is_caller, steps: String::new(), sequence: 0, invite: 0, variables: Vec::new() }
    }

    /// The header lines of a dialog, as this side names itself and the other.
    fn dialog(&self, is_first: bool) -> &'static str {
        match (self.is_caller, is_first) {
            (true, true) => {
                "From: \"Caller\" <sip:+15550001@[local_ip]:[local_port]>;tag=[call_number]c\n\
                 To: <sip:[service]@[remote_ip]:[remote_port]>\n"
            }
            (true, false) => {
                "From: \"Caller\" <sip:+15550001@[local_ip]:[local_port]>;tag=[call_number]c\n\
                 To:[$remote]\n[routes]\n"
            }
            (false, _) => "From:[$self];tag=[call_number]s\nTo:[$peer]\n[routes]\n",
        }
    }

    /// A request; an ACK and a CANCEL have the number of the last INVITE.
    pub(crate) fn request(mut self, method: &str, more: &str, body: Body<'_>) -> Self {
        let is_first = self.is_caller && self.sequence == 0;
        let of_invite = matches!(method, "ACK" | "CANCEL");
        if !of_invite {
            self.sequence += 1;
        }
        if method == "INVITE" {
            self.invite = self.sequence;
        }
        let sequence = if of_invite { self.invite } else { self.sequence };
        let is_outside = is_first || method == "CANCEL" && self.is_caller;
        let uri = if is_outside { "sip:[service]@[remote_ip]:[remote_port]" } else { "[next_url]" };
        // An ACK is a transaction of its own, a CANCEL has the branch of what it cancels.
        let kind = if method == "ACK" { "a" } else { "" };
        let head = format!(
            "{method} {uri} SIP/2.0\n\
             Via: SIP/2.0/[transport] [local_ip]:[local_port];\
             branch=z9hG4bK-[pid]-[call_number]-{sequence}{kind};rport\n\
             {}Call-ID: [call_id]\nCSeq: {sequence} {method}\nMax-Forwards: 70\n\
             Contact: <sip:me@[local_ip]:[local_port];transport=[transport]>\n{more}",
            self.dialog(is_outside),
        );
        let attributes = if method == "ACK" { "" } else { " retrans=\"500\"" };
        self.message(attributes, &head, body);
        self
    }

    /// A response to the message that came last.
    pub(crate) fn answers(mut self, status: &str, more: &str, body: Body<'_>) -> Self {
        let head = format!(
            "SIP/2.0 {status}\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n\
             [last_CSeq:]\n[last_Record-Route:]\n\
             Contact: <sip:me@[local_ip]:[local_port];transport=[transport]>\n{more}"
        );
        self.message("", &head, body);
        self
    }

    /// A response of a callee to its call, with this tag, whatever came since; final ones are said
    /// again until they are acknowledged.
    pub(crate) fn responds(mut self, status: &str, tag: &str, more: &str, body: Body<'_>) -> Self {
        let head = format!(
            "SIP/2.0 {status}\n[$way]From:[$peer]\nTo:[$self];tag=[call_number]{tag}\n\
             [last_Call-ID:]\nCSeq:[$cseq]\n\
             Contact: <sip:me@[local_ip]:[local_port];transport=[transport]>\n{more}"
        );
        let is_final = !status.starts_with('1');
        self.message(if is_final { " retrans=\"500\"" } else { "" }, &head, body);
        self
    }

    /// Sends its caller elsewhere, by this line alone.
    pub(crate) fn redirects(mut self, contact: &str) -> Self {
        let head = format!(
            "SIP/2.0 302 Moved Temporarily\n[$way]From:[$peer]\nTo:[$self];tag=[call_number]s\n\
             [last_Call-ID:]\nCSeq:[$cseq]\n{contact}"
        );
        self.message(" retrans=\"500\"", &head, Body::Nothing);
        self
    }

    /// Waits for a request of one of two methods and agrees to it; the second one is an INVITE.
    pub(crate) fn hears_either(mut self, one: &str, invite: &str) -> Self {
        let _ = writeln!(
            self.steps,
            "<recv request=\"{one}\" optional=\"true\" next=\"1\"/>\n\
             <recv request=\"{invite}\"/>"
        );
        self = self.answers("200 OK", "", FIRST).hears("ACK");
        self.steps.push_str("<nop next=\"2\"/>\n<label id=\"1\"/>\n");
        self = self.answers("200 OK", "", Body::Nothing);
        self.steps.push_str("<label id=\"2\"/>\n");
        self
    }

    /// A response to the last INVITE that came inside the dialog, whatever came since.
    pub(crate) fn responds_inside(mut self, status: &str, body: Body<'_>) -> Self {
        let (from, to) = if self.is_caller {
            ("[$remote]", " \"Caller\" <sip:+15550001@[local_ip]:[local_port]>;tag=[call_number]c")
        } else {
            ("[$peer]", "[$self];tag=[call_number]s")
        };
        let head = format!(
            "SIP/2.0 {status}\n[$again_way]From:{from}\nTo:{to}\n[last_Call-ID:]\n\
             CSeq:[$again_cseq]\n\
             Contact: <sip:me@[local_ip]:[local_port];transport=[transport]>\n"
        );
        self.message(" retrans=\"500\"", &head, body);
        self
    }

    fn message(&mut self, attributes: &str, head: &str, body: Body<'_>) {
        let described = match body {
            Body::Nothing => "Content-Length: 0\n\n".to_owned(),
            Body::Sdp(version, direction, at) => format!(
                "Content-Type: application/sdp\nContent-Length: [len]\n\nv=0\n\
                 o=me 1 {version} IN IP4 [local_ip]\ns=-\nc=IN IP4 {at}\nt=0 0\n\
                 m=audio [rtp_port] RTP/AVP 0 101\na=rtpmap:0 PCMU/8000\n\
                 a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na={direction}\n"
            ),
            Body::Lines(kind, lines) => {
                format!("Content-Type: {kind}\nContent-Length: [len]\n\n{lines}\n")
            }
        };
        let _ = writeln!(self.steps, "<send{attributes}><![CDATA[\n{head}{described}]]></send>");
    }

    /// Waits for a request; the first INVITE of a callee is kept, and so is each inside the dialog.
    pub(crate) fn hears(self, method: &str) -> Self {
        self.hears_with(method, &[])
    }

    /// The same; each header, or `body`, must match.
    pub(crate) fn hears_with(mut self, method: &str, checks: &[(&str, &str)]) -> Self {
        let is_first = method == "INVITE" && !self.is_caller && !self.knows("peer");
        let kept: &[(&str, &str)] = if is_first {
            &[("way", WAY), ("cseq", "CSeq:"), ("peer", "From:"), ("self", "To:")]
        } else if method == "INVITE" {
            AGAIN
        } else {
            &[]
        };
        let action = self.action(kept, checks);
        let routes = if is_first { " rrs=\"true\"" } else { "" };
        let _ = writeln!(self.steps, "<recv request=\"{method}\"{routes}>{action}</recv>");
        self
    }

    /// Waits for a request for so long at most.
    pub(crate) fn hears_within(mut self, method: &str, limit_ms: u32) -> Self {
        let action = self.action(AGAIN, &[]);
        let _ = writeln!(
            self.steps,
            "<recv request=\"{method}\" timeout=\"{limit_ms}\">{action}</recv>"
        );
        self
    }

    /// Waits for a response. A caller learns its far end's tag from a 2xx and a reliable 18x.
    pub(crate) fn takes(self, code: u16) -> Self {
        self.takes_with(code, &[])
    }

    pub(crate) fn takes_with(mut self, code: u16, checks: &[(&str, &str)]) -> Self {
        let of_call = self.is_caller && self.sequence == self.invite && self.invite == 1;
        let learns = of_call && !self.knows("remote") && (180..300).contains(&code);
        let kept: &[(&str, &str)] = if learns { &[("remote", "To:")] } else { &[] };
        let action = self.action(kept, checks);
        let routes = if learns { " rrs=\"true\"" } else { "" };
        let _ = writeln!(self.steps, "<recv response=\"{code}\"{routes}>{action}</recv>");
        self
    }

    /// Waits for a response and keeps what a header says.
    pub(crate) fn takes_keeping(mut self, code: u16, header: &str, name: &str) -> Self {
        let is_first = !self.knows("remote");
        let all = [("remote", "To:"), (name, header)];
        let action = self.action(if is_first { &all } else { &all[1..] }, &[]);
        let routes = if is_first { " rrs=\"true\"" } else { "" };
        let _ = writeln!(self.steps, "<recv response=\"{code}\"{routes}>{action}</recv>");
        self
    }

    /// Does not mind these before what it waits for next.
    pub(crate) fn may(mut self, codes: &[u16]) -> Self {
        for code in codes {
            let _ = writeln!(self.steps, "<recv response=\"{code}\" optional=\"true\"/>");
        }
        self
    }

    pub(crate) fn pause(mut self, ms: u32) -> Self {
        let _ = writeln!(self.steps, "<pause milliseconds=\"{ms}\"/>");
        self
    }

    fn knows(&self, name: &str) -> bool {
        self.variables.iter().any(|known| known == name)
    }

    fn action(&mut self, kept: &[(&str, &str)], checks: &[(&str, &str)]) -> String {
        let mut action = String::new();
        for (name, header) in kept {
            let is_way = *header == WAY;
            if !self.knows(name) {
                self.variables.push((*name).to_owned());
                self.variables.extend(is_way.then(|| format!("{name}_whole")));
            }
            if is_way {
                let _ = write!(
                    action,
                    "<ereg regexp=\"{WAY}\" search_in=\"msg\" check_it=\"true\" \
                     assign_to=\"{name}_whole,{name}\"/>"
                );
                continue;
            }
            let _ = write!(
                action,
                "<ereg regexp=\".*\" search_in=\"hdr\" header=\"{header}\" check_it=\"true\" \
                 assign_to=\"{name}\"/>"
            );
        }
        for (place, regexp) in checks {
            let name = format!("check{}", self.variables.len());
            let place = match *place {
                "body" => "search_in=\"body\"".to_owned(),
                "msg" => "search_in=\"msg\"".to_owned(),
                header => format!("search_in=\"hdr\" header=\"{header}\""),
            };
            let _ = write!(
                action,
                "<ereg regexp=\"{regexp}\" {place} check_it=\"true\" assign_to=\"{name}\"/>"
            );
            self.variables.push(name);
        }
        if action.is_empty() { action } else { format!("<action>{action}</action>") }
    }

    // Steps that most flows have.

    /// Calls and is answered.
    pub(crate) fn calls(self) -> Self {
        self.request("INVITE", "", FIRST).may(&[100, 180, 183]).takes(200).acknowledges()
    }

    /// Is called, rings and answers.
    pub(crate) fn answers_call(self) -> Self {
        self.hears("INVITE")
            .responds("180 Ringing", "s", "", Body::Nothing)
            .pause(200)
            .responds("200 OK", "s", "", FIRST)
            .hears("ACK")
    }

    pub(crate) fn acknowledges(self) -> Self {
        self.request("ACK", "", Body::Nothing)
    }

    /// Acknowledges a refusal of the last INVITE, which is no 2xx.
    pub(crate) fn acknowledges_refusal(mut self) -> Self {
        let sequence = self.invite;
        let is_first = self.is_caller && sequence == 1;
        let uri = if is_first { "sip:[service]@[remote_ip]:[remote_port]" } else { "[next_url]" };
        let head = format!(
            "ACK {uri} SIP/2.0\n[last_Via:]\n[last_From:]\n[last_To:]\nCall-ID: [call_id]\n\
             CSeq: {sequence} ACK\nMax-Forwards: 70\n"
        );
        self.message("", &head, Body::Nothing);
        self
    }

    pub(crate) fn hangs_up(self) -> Self {
        self.request("BYE", "", Body::Nothing).takes(200).pause(100)
    }

    /// Is hung up on.
    pub(crate) fn hears_bye(self) -> Self {
        self.hears("BYE").answers("200 OK", "", Body::Nothing).pause(300)
    }

    /// The scenario's text.
    pub(crate) fn text(&self) -> String {
        let used = self.variables.join(",");
        let used = match used.as_str() {
            "" => String::new(),
            used => format!("<Reference variables=\"{used}\"/>\n"),
        };
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n<scenario name=\"flow\">\n{}{used}\
             </scenario>\n",
            self.steps
        )
    }
}
