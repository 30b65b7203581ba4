"""An OTLP/gRPC receiver that shares no code with the product: prints its port, then each span as a JSON line.

Usage: otlp_receiver.py [ADDRESS:PORT]
"""

import json
import sys
from concurrent import futures

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service


class Receiver(service.TraceServiceServicer):
    def Export(self, request, context):
        for resource in request.resource_spans:
            attributes = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    line = MessageToDict(span)
                    line["trace_hex"] = span.trace_id.hex()
                    line["parent_hex"] = span.parent_span_id.hex()
                    line["service"] = attributes.get("service.name")
                    line["metadata"] = {key: str(value) for key, value in context.invocation_metadata()}
                    print("span " + json.dumps(line), flush=True)
        return messages.ExportTraceServiceResponse()


server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
service.add_TraceServiceServicer_to_server(Receiver(), server)
port = server.add_insecure_port(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:0")
server.start()
print(f"port {port}", flush=True)
sys.stdin.read()
server.wait_for_termination(timeout=120)
