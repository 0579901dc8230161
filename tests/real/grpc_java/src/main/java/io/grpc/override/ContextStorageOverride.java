package io.grpc.override;

import io.grpc.Context;

/**
 * Keeps the current context of each thread, as gRPC does without this class, which it finds by its name.
 *
 * <p>With {@code -Dclaimgate.contexts=forked}, what a thread attaches is a fork: it has the same values, and is not
 * cancelled with the original. grpc-java 1.85.1 starts an allowed call in the context of its check, which it
 * then cancels.
 */
public final class ContextStorageOverride extends Context.Storage {
    private static final boolean FORKED = "forked".equals(System.getProperty("claimgate.contexts"));

    private final ThreadLocal<Context> contexts = new ThreadLocal<>();

    @Override
    public Context doAttach(Context context) {
        var before = current();
        contexts.set(FORKED ? context.fork() : context);
        return before;
    }

    @Override
    public void detach(Context context, Context before) {
        contexts.set(before);
    }

    @Override
    public Context current() {
        return contexts.get();
    }
}
