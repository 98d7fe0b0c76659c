"""Makes keras_inception.npz: what Keras' Inception v3 computes with seeded random weights.

In an environment of its own, on CPU:
    pip install keras==3.15.1 jax==0.10.2
    KERAS_BACKEND=jax python -m tests.golden.keras_inception

Images are prepared as in Keras' example of adaptive discriminator augmentation: rescaled to 0..255,
resized to 75 pixels, and scaled by the network's own `preprocess_input`.
"""

import json
from pathlib import Path

import keras
import numpy as np

from tests.golden import feature_inputs as inputs

STAGES = ("activation_2", "activation_4", "mixed2", "mixed7", "mixed10")


def main():
    network = keras.applications.InceptionV3(
        include_top=False, input_shape=(75, 75, 3), weights=None
    )
    shapes = {
        f"{layer.name}/{weight.name}": list(weight.shape)
        for layer in network.layers
        for weight in layer.weights
    }
    tensors = inputs.random_keras_tensors(shapes)
    for layer in network.layers:
        layer.set_weights([tensors[f"{layer.name}/{weight.name}"] for weight in layer.weights])
    outputs = [network.get_layer(name).output for name in STAGES]
    features = keras.layers.GlobalAveragePooling2D()(network.output)
    prepare = keras.Sequential(
        [keras.layers.Rescaling(255.0), keras.layers.Resizing(height=75, width=75)]
    )
    images = inputs.images().astype(np.float32) / 255
    prepared = keras.applications.inception_v3.preprocess_input(np.array(prepare(images)))
    found, *stages = keras.Model(network.input, [features, *outputs])(prepared, training=False)
    np.savez_compressed(
        Path(__file__).with_suffix(".npz"),
        shapes=json.dumps(shapes),
        features=np.asarray(found),
        **{f"stage_{i}": inputs.thinned(np.asarray(stage)) for i, stage in enumerate(stages)},
    )


if __name__ == "__main__":
    main()
