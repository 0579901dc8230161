package claimgate;

import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.Any;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.Grpc;
import io.grpc.HandlerRegistry;
import io.grpc.InsecureChannelCredentials;
import io.grpc.InsecureServerCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.Server;
import io.grpc.ServerBuilder;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerMethodDefinition;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/**
 * Makes calls through a channel that grpc-java configures by xDS, to a server that echoes the headers of
 * each call. Calls of a method {@code Watch} are not answered.
 *
 * <p>The argument is a JSON file: {@code bootstrap} is a part of the xDS bootstrap, {@code resources} are what
 * the control plane serves for {@code xds:///api}, and {@code "{api}"} in them stands for the server's port.
 *
 * <p>Each line of the standard input is one call, {@code {"method", "headers": [[name, value]]}}. Each line of
 * the standard output is its outcome: {@code {"code", "description", "trailers", "received"}}.
 */
public final class Calls {
    /** A call without an outcome by then ends with {@code DEADLINE_EXCEEDED}. */
    private static final long TIMEOUT_SECONDS = 30;

    public static void main(String[] arguments) throws Exception {
        var api = serve(NettyServerBuilder.forAddress(loopback(), InsecureServerCredentials.create())
                .fallbackHandlerRegistry(new Echo()));
        var text = Files.readString(Path.of(arguments[0])).replace("\"{api}\"", Integer.toString(api.getPort()));
        var settings = JsonParser.parseString(text).getAsJsonObject();

        List<Any> resources = new ArrayList<>();
        for (var resource : settings.getAsJsonArray("resources")) {
            resources.add(ControlPlane.resource(resource.toString()));
        }
        var xds = serve(NettyServerBuilder.forAddress(loopback(), InsecureServerCredentials.create())
                .addService(new ControlPlane(resources)));

        // Read when the first channel of this kind is made.
        System.setProperty("io.grpc.xds.bootstrapConfig", bootstrap(settings, xds).toString());
        var channel = Grpc.newChannelBuilder("xds:///api", InsecureChannelCredentials.create()).build();

        var calls = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (var line = calls.readLine(); line != null; line = calls.readLine()) {
            System.out.println(outcome(channel, JsonParser.parseString(line).getAsJsonObject()));
        }
        stop(channel, xds, api);
    }

    private static InetSocketAddress loopback() {
        return new InetSocketAddress(InetAddress.getLoopbackAddress(), 0);
    }

    private static Server serve(ServerBuilder<?> server) throws IOException {
        return server.build().start();
    }

    private static void stop(ManagedChannel channel, Server... servers) {
        channel.shutdownNow();
        for (var server : servers) {
            server.shutdownNow();
        }
    }

    private static JsonObject bootstrap(JsonObject settings, Server xds) {
        var bootstrap = JsonParser.parseString("""
                {"xds_servers": [{
                    "server_uri": "127.0.0.1:%d",
                    "channel_creds": [{"type": "insecure"}],
                    "server_features": ["xds_v3"]
                }]}""".formatted(xds.getPort())).getAsJsonObject();
        settings.getAsJsonObject("bootstrap").entrySet().forEach(it -> bootstrap.add(it.getKey(), it.getValue()));
        return bootstrap;
    }

    private static JsonObject outcome(Channel channel, JsonObject asked) throws Exception {
        var method = bytesMethod(asked.get("method").getAsString());
        var options = CallOptions.DEFAULT.withDeadlineAfter(TIMEOUT_SECONDS, TimeUnit.SECONDS);
        var headers = new Metadata();
        for (var header : asked.getAsJsonArray("headers")) {
            var pair = header.getAsJsonArray();
            headers.put(key(pair.get(0).getAsString()), pair.get(1).getAsString());
        }
        var outcome = new CompletableFuture<JsonObject>();
        var call = channel.newCall(method, options);
        call.start(new Recorder(outcome), headers);
        call.request(2);
        call.sendMessage(new byte[0]);
        call.halfClose();
        return outcome.get();
    }

    /** Takes down what the client of a call gets. */
    private static final class Recorder extends ClientCall.Listener<byte[]> {
        private final CompletableFuture<JsonObject> outcome;
        private final JsonObject found = new JsonObject();

        Recorder(CompletableFuture<JsonObject> outcome) {
            this.outcome = outcome;
        }

        @Override
        public void onMessage(byte[] message) {
            var text = new String(message, StandardCharsets.UTF_8);
            found.add("received", JsonParser.parseString(text));
        }

        @Override
        public void onClose(Status status, Metadata trailers) {
            found.addProperty("code", status.getCode().name());
            found.addProperty("description", status.getDescription());
            found.add("trailers", pairs(trailers));
            outcome.complete(found);
        }
    }

    /** Answers each call, of any method but {@code Watch}, with the headers that came with it. */
    private static final class Echo extends HandlerRegistry implements ServerCallHandler<byte[], byte[]> {
        @Override
        public ServerMethodDefinition<?, ?> lookupMethod(String method, String authority) {
            return ServerMethodDefinition.create(bytesMethod(method), this);
        }

        @Override
        public ServerCall.Listener<byte[]> startCall(ServerCall<byte[], byte[]> call, Metadata headers) {
            call.request(2);
            return new ServerCall.Listener<>() {
                @Override
                public void onHalfClose() {
                    if (call.getMethodDescriptor().getFullMethodName().endsWith("/Watch")) {
                        return;
                    }
                    call.sendHeaders(new Metadata());
                    call.sendMessage(pairs(headers).toString().getBytes(StandardCharsets.UTF_8));
                    call.close(Status.OK, new Metadata());
                }
            };
        }
    }

    private static Metadata.Key<String> key(String name) {
        return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
    }

    /** Every text header, as {@code [name, value]}, in order of the names. */
    private static JsonArray pairs(Metadata headers) {
        List<List<String>> pairs = new ArrayList<>();
        headers.keys().stream()
                .filter(name -> !name.endsWith(Metadata.BINARY_HEADER_SUFFIX))
                .sorted()
                .forEach(name -> headers.getAll(key(name)).forEach(value -> pairs.add(List.of(name, value))));
        return new Gson().toJsonTree(pairs).getAsJsonArray();
    }

    private static MethodDescriptor<byte[], byte[]> bytesMethod(String name) {
        var bytes = new Bytes();
        return MethodDescriptor.newBuilder(bytes, bytes)
                .setType(MethodType.UNARY)
                .setFullMethodName(name)
                .build();
    }

    private static final class Bytes implements MethodDescriptor.Marshaller<byte[]> {
        @Override
        public InputStream stream(byte[] value) {
            return new ByteArrayInputStream(value);
        }

        @Override
        public byte[] parse(InputStream stream) {
            try {
                return stream.readAllBytes();
            } catch (IOException problem) {
                throw new UncheckedIOException(problem);
            }
        }
    }

    private Calls() {}
}
