"""An authorization server that shares no code with the product: Envoy's ext_authz v3 over gRPC, from its own protos.

Prints its port, then each question as a JSON line. What it answers is said by the path of the request.

Usage: ext_authz_server.py [ADDRESS:PORT]
"""

import json
import sys
import time
from concurrent import futures

import grpc
from envoy.config.core.v3 import base_pb2 as core
from envoy.service.auth.v3 import external_auth_pb2 as messages
from envoy.service.auth.v3 import external_auth_pb2_grpc as service
from envoy.type.v3 import http_status_pb2
from google.protobuf import wrappers_pb2
from google.protobuf.json_format import MessageToDict
from google.rpc import code_pb2, status_pb2


def header(name, value, append=None, action=None):
    option = core.HeaderValueOption(header=core.HeaderValue(key=name, value=value))
    if append is not None:
        option.append.CopyFrom(wrappers_pb2.BoolValue(value=append))
    if action is not None:
        option.append_action = action
    return option


def status(code):
    return status_pb2.Status(code=code)


def allowed():
    return messages.CheckResponse(
        status=status(code_pb2.OK),
        ok_response=messages.OkHttpResponse(
            headers=[
                header("x-user", "anna"),
                header("x-role", "buyer", append=True),
                header("x-kept", "no", action=core.HeaderValueOption.ADD_IF_ABSENT),
            ],
            headers_to_remove=["authorization"],
            response_headers_to_add=[header("x-authorized", "yes")],
            query_parameters_to_set=[core.QueryParameter(key="user", value="anna")],
            query_parameters_to_remove=["token"],
        ),
    )


def denied():
    return messages.CheckResponse(
        status=status(code_pb2.PERMISSION_DENIED),
        denied_response=messages.DeniedHttpResponse(
            status=http_status_pb2.HttpStatus(code=401),
            headers=[header("www-authenticate", "Bearer")],
            body="who are you?",
        ),
    )


def failed():
    return messages.CheckResponse(
        status=status(code_pb2.OK),
        error_response=messages.DeniedHttpResponse(status=http_status_pb2.HttpStatus(code=500)),
    )


ANSWERS = {
    "allowed": allowed,
    "bare": lambda: messages.CheckResponse(status=status(code_pb2.OK)),
    "denied": denied,
    "denied-bare": lambda: messages.CheckResponse(status=status(code_pb2.UNAUTHENTICATED)),
    "failed": failed,
    "path": lambda: messages.CheckResponse(
        status=status(code_pb2.OK), ok_response=messages.OkHttpResponse(headers=[header(":path", "/other")])
    ),
    "undecided": messages.CheckResponse,
}


class Server(service.AuthorizationServicer):
    def Check(self, request, context):
        http = request.attributes.request.http
        line = MessageToDict(request.attributes)
        print("question " + json.dumps(line), flush=True)
        what = http.path.split("?")[0].split("/")[1]
        if what == "slow":
            time.sleep(20)
        if what not in ANSWERS:
            context.abort(grpc.StatusCode.UNAVAILABLE, "no answer")
        return ANSWERS[what]()


server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
service.add_AuthorizationServicer_to_server(Server(), server)
port = server.add_insecure_port(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:0")
server.start()
print(f"port {port}", flush=True)
server.wait_for_termination(timeout=120)
