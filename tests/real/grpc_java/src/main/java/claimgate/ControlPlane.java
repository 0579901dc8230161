package claimgate;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.JsonFormat;
import io.grpc.stub.StreamObserver;
import io.grpc.xds.shaded.io.envoyproxy.envoy.config.cluster.v3.Cluster;
import io.grpc.xds.shaded.io.envoyproxy.envoy.config.listener.v3.Listener;
import io.grpc.xds.shaded.io.envoyproxy.envoy.extensions.filters.http.ext_authz.v3.ExtAuthz;
import io.grpc.xds.shaded.io.envoyproxy.envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute;
import io.grpc.xds.shaded.io.envoyproxy.envoy.extensions.filters.http.router.v3.Router;
import io.grpc.xds.shaded.io.envoyproxy.envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager;
import io.grpc.xds.shaded.io.envoyproxy.envoy.service.discovery.v3.AggregatedDiscoveryServiceGrpc;
import io.grpc.xds.shaded.io.envoyproxy.envoy.service.discovery.v3.DiscoveryRequest;
import io.grpc.xds.shaded.io.envoyproxy.envoy.service.discovery.v3.DiscoveryResponse;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Serves resources that never change, by xDS. */
final class ControlPlane extends AggregatedDiscoveryServiceGrpc.AggregatedDiscoveryServiceImplBase {
    private static final String VERSION = "1";

    private final List<Any> resources;

    ControlPlane(List<Any> resources) {
        this.resources = resources;
    }

    /** A resource from JSON, with its type in {@code @type}. */
    static Any resource(String json) throws InvalidProtocolBufferException {
        var types =
                JsonFormat.TypeRegistry.newBuilder()
                        .add(Listener.getDescriptor())
                        .add(HttpConnectionManager.getDescriptor())
                        .add(ExtAuthz.getDescriptor())
                        .add(ExtAuthzPerRoute.getDescriptor())
                        .add(Router.getDescriptor())
                        .add(Cluster.getDescriptor())
                        .build();
        var resource = Any.newBuilder();
        JsonFormat.parser().usingTypeRegistry(types).merge(json, resource);
        return resource.build();
    }

    @Override
    public StreamObserver<DiscoveryRequest> streamAggregatedResources(
            StreamObserver<DiscoveryResponse> responses) {
        return new Subscriber(responses);
    }

    private final class Subscriber implements StreamObserver<DiscoveryRequest> {
        private final StreamObserver<DiscoveryResponse> responses;
        private final Map<String, Set<String>> subscribed = new HashMap<>();

        Subscriber(StreamObserver<DiscoveryResponse> responses) {
            this.responses = responses;
        }

        @Override
        public void onNext(DiscoveryRequest request) {
            if (request.hasErrorDetail()) {
                System.err.println("the client refuses the configuration: "
                        + request.getErrorDetail().getMessage());
            }
            var type = request.getTypeUrl();
            var names = new HashSet<>(request.getResourceNamesList());
            // A request with the same names acknowledges the answer.
            if (names.equals(subscribed.put(type, names))) {
                return;
            }
            var response = DiscoveryResponse.newBuilder()
                    .setTypeUrl(type)
                    .setVersionInfo(VERSION)
                    .setNonce(Integer.toString(names.hashCode()));
            resources.stream().filter(it -> it.getTypeUrl().equals(type)).forEach(response::addResources);
            responses.onNext(response.build());
        }

        @Override
        public void onError(Throwable problem) {}

        @Override
        public void onCompleted() {
            responses.onCompleted();
        }
    }
}
