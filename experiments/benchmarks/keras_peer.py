"""The train step of configs/ada.py in Keras on TensorFlow, as a process for keras_step.py.

The process runs in an environment of its own, with TensorFlow and without ganjax. Each line that it
reads is a request in JSON, and each line that it writes is the answer:
    {"weights": "arrays.npz"} loads the weights in the file
    {"check": "arrays.npz"}   takes a train step on the file's `image` and `z`; answers its losses
    {"steps": 5}              takes that many steps on random z; answers the seconds of each
    {"peak": true}            answers the peak of the process' resident memory in MiB
"""

import json
import os
import sys
import time

# TensorFlow writes to stdout too, which is kept for the answers alone.
ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402


def batch_norm(fields):
    return keras.layers.BatchNormalization(
        scale=fields["scale"], momentum=fields["momentum"], epsilon=fields["epsilon"]
    )


def generator(options):
    first, *widths = options["generator_widths"]
    layers = [
        keras.Input((options["latent_dim"],)),
        keras.layers.Dense(16 * first, use_bias=False),
        batch_norm(options["batch_norm"]),
        keras.layers.ReLU(),
        keras.layers.Reshape((4, 4, first)),
    ]
    for width in widths:
        layers += [
            keras.layers.Conv2DTranspose(width, 4, 2, "same", use_bias=False),
            batch_norm(options["batch_norm"]),
            keras.layers.ReLU(),
        ]
    last = keras.layers.Conv2DTranspose(3, 4, 2, "same", activation="sigmoid")
    return keras.Sequential([*layers, last])


def discriminator(options):
    layers = [keras.Input((options["image_size"], options["image_size"], 3))]
    for width in options["discriminator_widths"]:
        layers += [
            keras.layers.Conv2D(width, 4, 2, "same", use_bias=False),
            batch_norm(options["batch_norm"]),
            keras.layers.LeakyReLU(options["slope"]),
        ]
    layers.append(keras.layers.Flatten())
    if options["dropout"]:
        layers.append(keras.layers.Dropout(options["dropout"]))
    return keras.Sequential([*layers, keras.layers.Dense(1)])


def cross_entropy(logits, target):
    targets = tf.fill(tf.shape(logits), tf.cast(target, logits.dtype))
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits))


def make_step(g, d, ema, options, jit_compile):
    """Makes a step of (uint8 images, z) that updates both players at once, then G's average."""
    adam = options["adam"]
    optimisers = [
        keras.optimizers.Adam(adam["learning_rate"], adam["b1"], adam["b2"], adam["eps"])
        for _ in (g, d)
    ]
    for optimiser, player in zip(optimisers, (g, d), strict=True):
        optimiser.build(player.trainable_variables)
    decay = options["ema"]

    @tf.function(jit_compile=jit_compile)
    def step(images, z):
        reals = tf.cast(images, z.dtype) / 255
        with tf.GradientTape(persistent=True) as tape:
            fakes = g(z, training=True)
            real, fake = d(reals, training=True), d(fakes, training=True)
            d_loss = (cross_entropy(real, 1) + cross_entropy(fake, 0)) / 2
            g_loss = cross_entropy(fake, 1)
        for optimiser, player, loss in zip(optimisers, (g, d), (g_loss, d_loss), strict=True):
            variables = player.trainable_variables
            optimiser.apply(tape.gradient(loss, variables), variables)
        for average, weight in zip(ema.weights, g.weights, strict=True):
            average.assign(decay * average + (1 - decay) * weight)
        accuracy = tf.reduce_mean(tf.cast(real > 0, z.dtype))
        return {"d_loss": d_loss, "g_loss": g_loss, "d_real_acc": accuracy}

    return step


def main():
    options = json.loads(sys.argv[1])
    tf.config.threading.set_intra_op_parallelism_threads(options["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(options["threads"])
    keras.config.set_floatx(options["dtype"])
    g, d, ema = generator(options), discriminator(options), generator(options)
    step = make_step(g, d, ema, options, options["jit_compile"])
    size, batch = options["image_size"], options["batch_size"]
    images = np.random.RandomState(0).randint(0, 256, (batch, size, size, 3)).astype(np.uint8)
    images = tf.constant(images)
    draw = tf.function(lambda: tf.random.normal((batch, options["latent_dim"]), dtype=g.dtype))
    versions = f"TensorFlow {tf.__version__}, Keras {keras.__version__}"
    counts = [g.count_params(), d.count_params()]
    print(json.dumps({"versions": versions, "parameters": counts}), file=ANSWERS)
    for line in sys.stdin:
        request, answer = json.loads(line), "done"
        if "weights" in request:
            with np.load(request["weights"]) as arrays:
                for network in (g, d, ema):
                    name = "d" if network is d else "g"
                    weights = [arrays[f"{name}_{i}"] for i in range(len(network.weights))]
                    network.set_weights(weights)
        elif "check" in request:
            with np.load(request["check"]) as arrays:
                metrics = step(tf.constant(arrays["image"]), tf.constant(arrays["z"]))
            answer = {name: float(value) for name, value in metrics.items()}
        elif "peak" in request:
            # getrusage's value would start at the peak of the parent process.
            with open("/proc/self/status") as status:
                lines = [line for line in status if line.startswith("VmHWM:")]
            answer = int(lines[0].split()[1]) / 2**10
        else:
            answer = []
            for _ in range(request["steps"]):
                start = time.perf_counter()
                metrics = step(images, draw())
                float(metrics["g_loss"])
                float(ema.weights[0][0, 0])  # The step writes it last.
                answer.append(time.perf_counter() - start)
        print(json.dumps(answer), file=ANSWERS)


if __name__ == "__main__":
    main()
