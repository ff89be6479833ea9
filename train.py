"""Trains and evaluates a registered experiment.

python train.py --experiment=retinanet_selftrain --mode=train_and_eval
"""

import runpy

if __name__ == '__main__':
  # As the main program: its flags are then those that --help lists.
  runpy.run_module('official_selftrain.train', run_name='__main__', alter_sys=True)
