#!/usr/bin/env python3
"""Our webhook signatures, judged by the client library's RequestValidator.

    signature.py < lines

Each line is JSON as the example `sign` of crate `api` prints it: {"token", "url", "params": [[name, value]...], "signature"}.
Exit status 0 if the validator accepts every line, refuses every line with a changed token, and there was at
least one line.
"""

import json
import sys

from twilio.request_validator import RequestValidator


class Params(dict):
    """Repeated parameters as web frameworks give them."""

    def getall(self, name):
        return self[name]


def main():
    lines = 0
    for line in sys.stdin:
        case = json.loads(line)
        params = Params()
        for name, value in case["params"]:
            params.setdefault(name, []).append(value)
        judge = lambda token: RequestValidator(token).validate(
            case["url"], params, case["signature"]
        )
        if not judge(case["token"]):
            print(f"refused: {line}", file=sys.stderr)
            return 1
        if judge(case["token"] + "x"):
            print(f"accepted under a wrong token: {line}", file=sys.stderr)
            return 1
        lines += 1
    print(f"{lines} signatures accepted")
    return 0 if lines else 1


if __name__ == "__main__":
    sys.exit(main())
