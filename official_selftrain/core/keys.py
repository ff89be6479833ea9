"""Names of dictionary entries and TFRecord features that cross a module boundary."""

# Sources of a student's batch, in the order in which they are joined.
HUMAN = 'human'
PSEUDO = 'pseudo'
SOURCES = (HUMAN, PSEUDO)

# tf.Example features: the Model Garden's names.
IMAGE_ENCODED = 'image/encoded'
IMAGE_HEIGHT = 'image/height'
IMAGE_WIDTH = 'image/width'
SOURCE_ID = 'image/source_id'
FILE_NAME = 'image/filename'
IMAGE_CLASS = 'image/class/label'
BOX_YMIN = 'image/object/bbox/ymin'
BOX_XMIN = 'image/object/bbox/xmin'
BOX_YMAX = 'image/object/bbox/ymax'
BOX_XMAX = 'image/object/bbox/xmax'
BOX_CLASS = 'image/object/class/label'
BOX_CLASS_NAME = 'image/object/class/text'
BOX_IS_CROWD = 'image/object/is_crowd'
BOX_AREA = 'image/object/area'
BOX_MASK = 'image/object/mask'
SEGMENTATION_MASK = 'image/segmentation/class/encoded'

# tf.Example features of label shards only.
BOX_SCORE = 'image/object/score'
CONFIDENCE_MASK = 'pseudo/confidence/encoded'
PIXEL_COUNTS = 'pseudo/pixel_counts'
LABEL_STATUS = 'pseudo/status'
LABEL_INDEX = 'pseudo/index'
IMAGE_FINGERPRINT = 'pseudo/image_fingerprint'

# Decoded examples: the Model Garden decoder's names, and ours.
GROUNDTRUTH_BOXES = 'groundtruth_boxes'
GROUNDTRUTH_CLASSES = 'groundtruth_classes'
GROUNDTRUTH_IS_CROWD = 'groundtruth_is_crowd'
GROUNDTRUTH_AREA = 'groundtruth_area'
GROUNDTRUTH_SCORES = 'groundtruth_scores'
GROUNDTRUTH_IS_IGNORED = 'groundtruth_is_ignored'
GROUNDTRUTH_INSTANCE_MASKS = 'groundtruth_instance_masks'
IMAGE_LABEL = 'image_label'
SEMANTIC_MASK = 'semantic_mask'
SEMANTIC_CONFIDENCE = 'semantic_confidence'
APPLIED_OPS = 'applied_ops'
SEED = 'seed'
# What a view of an image shows, see `augment.flip_crop` and `dataloaders.teacher_views`.
VIEW_MAP = 'view_map'
VIEW_SIZE = 'view_size'
TEACHER_IMAGE = 'teacher_image'
TEACHER_VIEW_SIZE = 'teacher_view_size'
IMAGE_ID = 'image_id'

# Class of pixels in masks that nobody labelled; they never count.
IGNORE_LABEL = 255
