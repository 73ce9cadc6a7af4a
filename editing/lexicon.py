"""Words of ordinary English by what they say about a picture: plain lists, in the singular, wide rather than deep."""

from __future__ import annotations

COLORS = frozenset(
    """amber apricot aqua aquamarine auburn azure beige black blond blonde blue bluish bronze brown brunette burgundy
    caramel charcoal chestnut cinnamon cobalt colored colorful copper coral cream crimson cyan ebony emerald fuchsia ginger
    gold golden gray grayish green greenish indigo ivory jade khaki lavender lemon lilac lime magenta mahogany maroon mauve
    mint monochrome multicolored mustard navy ocher ochre olive orange peach pink pinkish plum purple rainbow raven red reddish
    rose ruby rust sage salmon sapphire scarlet sepia silver silvery tan tangerine tawny teal terracotta turquoise ultramarine
    vermilion violet white whitish yellow yellowish""".split()
)
SHADES = frozenset(
    """bold bright brightly clear dark darker deep faded glossy light lighter luminous matte metallic neon pale pastel
    plain saturated shiny soft solid tinted vivid""".split()
)
PATTERNS = frozenset(
    """camouflage checked checkered chequered dotted floral flowered gingham patterned plaid polka dot spotted speckled
    striped stripy tartan tabby calico marbled paisley""".split()
)
MATERIALS = frozenset(
    """acrylic aluminum bamboo brass brick bronze canvas cardboard cashmere ceramic chrome clay concrete corduroy cork cotton
    crochet crocheted crystal denim embroidered enamel felt fur furry glass gold granite iron jade jewel jute knit knitted lace
    lacquered lead leather linen linoleum marble metal mohair mosaic oak paper parquet pearl pewter pine plaster plastic
    plywood porcelain quilted rattan rubber rusted rusty sandstone satin sequined silk silver slate stainless steel stone
    straw stucco suede teak terracotta thatched tile tiled tin titanium tweed velvet vinyl walnut wax wicker wood wooden
    wool woolen woven wrought""".split()
)
SHAPES = frozenset(
    """angular big broad chubby circular conical cubic curly curved cylindrical enormous fat flat giant gigantic heart-shaped
    hexagonal high huge large little long low massive miniature narrow octagonal oval pointed pyramid rectangular round short
    slender slim small spherical spiky square star-shaped straight tall thick thin tiny triangular wavy wide
    shoulder-length""".split()
)
ANIMALS = frozenset(
    """alligator alpaca animal ant antelope ape badger bat bear beaver bee beetle bird bison boar bull bulldog bunny butterfly
    calf camel canary cat caterpillar cheetah chick chicken chimpanzee chipmunk cobra cockatoo collie corgi cow coyote crab
    crane cricket crocodile crow cub dachshund dalmatian deer dinosaur dog dolphin donkey dragon dragonfly duck duckling eagle
    elephant falcon ferret fish flamingo fox frog gazelle gerbil giraffe goat goldfish goose gorilla hamster hare hawk
    hedgehog hen heron hippo horse hound hummingbird husky hyena iguana insect jaguar jellyfish kangaroo kitten koala labrador
    ladybug lamb leopard lion lizard llama lobster lynx magpie monkey moose mouse mule octopus orangutan ostrich otter owl ox
    panda panther parrot peacock pelican penguin pheasant pig pigeon pony poodle pug puma puppy python rabbit raccoon rat
    raven retriever rhino robin rooster salmon seagull seal shark sheep shepherd sloth snail snake sparrow spider squid
    squirrel stag starfish stork swallow swan terrier tiger toad tortoise toucan trout turkey turtle unicorn vulture walrus
    wasp whale wolf woodpecker worm yak zebra""".split()
)
PEOPLE = frozenset(
    """actor actress artist astronaut athlete aunt baby ballerina barista biker boy bride bridegroom brother businessman
    businesswoman carpenter chef child clown cook couple cowboy crowd cyclist dancer daughter diver doctor driver elf family
    farmer father fireman firefighter fisherman friend gardener gentleman girl grandfather grandmother groom guitarist guy
    hiker jogger judge kid king knight lady lawyer mailman man mechanic model monk mother mummy musician nun nurse officer
    painter passenger pedestrian people person photographer pianist pilot pirate player policeman priest prince princess queen
    rider robot runner sailor samurai santa scientist secretary shopper singer sister skater skier soldier son student surfer
    swimmer tailor teacher teenager toddler tourist twin uncle violinist waiter waitress wife witch wizard woman worker youth
    zombie""".split()
)
GARMENTS = frozenset(
    """anklet apron backpack bag bandana beanie belt beret bikini blazer blouse boot bow bowtie bracelet brooch cap cape cardigan
    cloak clothes clothing coat collar costume crown dress earring eyeglass glove glasses goggles gown handbag harness hat
    headband headphones headscarf heel helmet hijab hood hoodie jacket jean jeans jersey jewelry jumper kilt kimono legging
    lipstick loafer makeup mask mitten necklace necktie overall pajamas pants parka pendant poncho purse pullover raincoat ribbon
    ring robe sandal sari sash scarf shawl shirt shoe short shorts skirt slipper sneaker sock spectacles stocking suit
    suitcase sunglasses suspenders sweater sweatshirt swimsuit t-shirt tank tattoo tiara tie tights trousers tutu tuxedo umbrella
    underwear uniform veil vest waistcoat watch wig""".split()
)
FOOD = frozenset(
    """almond apple apricot asparagus avocado bacon bagel baguette banana bean beef beer beet berry biscuit blackberry blueberry
    bread breakfast broccoli broth brownie burger burrito butter cabbage cake candy cappuccino caramel carrot cauliflower celery
    cereal champagne cheese cheesecake cherry chicken chili chip chocolate cocktail coconut coffee cookie corn crab cranberry
    cream croissant cucumber cupcake curry dessert dinner donut doughnut dumpling egg eggplant espresso fig fish fries fruit
    garlic grape grapefruit ham hamburger herb honey hotdog ice icing jam jelly juice kebab ketchup kiwi lasagna latte leek
    lemon lemonade lettuce lime lobster lunch macaron mango meal meat meatball melon milk milkshake muffin mushroom mustard
    noodle nut oatmeal olive omelet omelette onion orange oyster pancake papaya parsley pasta pastry pea peach peanut pear pepper
    pickle pie pineapple pizza plum pomegranate popcorn pork porridge potato pretzel pudding pumpkin radish raisin ramen raspberry
    rice roast salad salami salmon salsa sandwich sauce sausage shrimp smoothie snack soda soup spaghetti spice spinach
    sprinkle steak stew strawberry sugar sushi syrup taco tart tea toast tofu tomato tuna turkey vegetable waffle walnut
    watermelon whiskey wine yogurt zucchini""".split()
)
FURNITURE = frozenset(
    """armchair bathtub bed bench blanket bookcase bookshelf cabinet carpet chair chandelier chest clock closet couch counter
    cradle crib cupboard curtain cushion desk door drawer dresser faucet fireplace fridge furniture hammock heater lamp lantern
    mat mattress microwave mirror nightstand ottoman oven pillow piano radiator refrigerator rug shelf shower sideboard sink sofa
    stool stove table tablecloth television throne toaster toilet towel tv vanity wardrobe washer window""".split()
)
THINGS = frozenset(
    """airplane anchor antique arch arrow axe ball balloon banner barrel basket bat bell bicycle bike billboard binoculars board
    boat book bottle bouquet bowl box bridge broom brush bucket bus butterfly camera camper can candle cane canoe car card
    caravan carriage cart castle chimney church cigar cigarette clock coach coin comb computer cone container crate cross cube
    cup cylinder dish doll drone drum engine envelope fan feather fence ferry flag flower flute fork fountain frame gift glass
    globe glove grill guitar gun hammer harp helicopter house instrument jar jet jug kayak kettle key keyboard kite knife
    ladder laptop leaf letter lighthouse limousine log lorry magazine map microphone monitor moped motorbike motorcycle mug
    newspaper notebook ornament package paddle painting pan paper pen pencil phone photo picture pipe pirate plane plant plate
    poster pot puppet pyramid racket radio raft rail rickshaw rifle rock rocket rope rose sail saddle sandcastle saucer sausage
    saw saxophone scissors scooter sculpture sign skateboard ski skull skyscraper sled smartphone snowman spaceship spear
    speaker sphere spoon spotlight stand statue stick straw stroller submarine surfboard sword tablet tank taxi teapot
    teddy telephone telescope tent toy tractor train tram tray tree trolley trophy truck trumpet tulip sunflower daisy lily
    orchid poppy peony iris hydrangea carnation tricycle tripod truck ufo van vase vehicle vessel violin wagon wand watch
    wheel wheelchair windmill yacht""".split()
)
PLACES = frozenset(
    """aisle airport alley apartment aquarium arena attic avenue backdrop background backyard bakery balcony bar barn basement
    bath bathroom bay beach bedroom boardwalk boat bookstore boulevard bridge building cabin cafe cafeteria campfire canal canyon
    car castle cathedral cave cemetery chapel church cinema city classroom cliff cloud coast colosseum corridor cottage
    countryside court courtyard coast creek crossroad deck desert diner dock driveway dune earth factory farm farmland field
    floor forest fountain garage garden gallery glacier grass grassland greenhouse gym hall hallway harbor highway hill hilltop
    horizon hospital hotel house hut iceberg interior island jungle kitchen laboratory lagoon lake landscape lane lawn library
    lobby mall market marsh meadow metro mine moon motel mountain mountainside museum neighborhood nightclub ocean office
    orchard outdoors outer outside palace park parking path patio pavement peak pier planet plain platform playground plaza pond
    pool porch port prairie promenade pub quay racetrack railway rainforest ranch reef restaurant resort river riverbank
    riverside road roadside rock roof rooftop room ruin runway savanna savannah school sea seashore seaside shed ship shop shore
    shoreline sidewalk sky skyline slope space spaceship square stable stadium stage staircase station store stream street
    studio suburb subway summit sunflowers supermarket swamp taiga tavern temple tent terrace theater theatre tower town track
    trail train tundra tunnel underwater universe valley veranda village vineyard volcano wall warehouse waterfall waterfront
    wilderness windowsill wood woodland woods workshop yard zoo paris london rome venice tokyo york berlin sydney eiffel
    himalayas alps sahara hawaii egypt pyramids manhattan""".split()
)
CONDITIONS = frozenset(
    """afternoon autumn aurora blizzard blossom cloudy dawn day daylight daytime dusk evening fall fireworks fog foggy frost
    frosty frozen haze hazy hail lightning midnight mist misty moonlight moonlit morning night nighttime noon overcast rain
    rainbow rainy snow snowfall snowstorm snowy snow-covered spring starry storm stormy summer sun sunlight sunlit sunny sunrise
    sunset sunshine thunderstorm twilight weather wet wind windy winter wintry flooded deserted crowded busy lush mossy
    tropical urban rural""".split()
)
POSES = frozenset(
    """asleep awake backflip backward bow bent bowed crossed curled facing flip forward handstand kick kneel jump leap leaning lying
    outstretched perched posed profile raised reclined seated sideways sit sitting squatting stand standing stretched upright
    upside walk wink yawn turned open opened closed shut clenched folded lowered spread looking""".split()
)
EXPRESSIONS = frozenset(
    """afraid amused angry annoyed anxious bored calm cheerful confused content crying curious delighted disgusted excited
    expression face frightened frown furious grin grumpy happy joyful laugh mad melancholy nervous neutral pensive proud
    relaxed sad scared scream serious shocked shy smile sleepy smirk stern surprised suspicious tears thoughtful tired
    unhappy upset worried""".split()
)
BODY = frozenset(
    """arm back beak cheek chest chin claw ear elbow eye eyebrow face feet fist finger foot hair hand head hind hip knee leg lip
    mouth neck nose paw shoulder side tail thumb toe tongue tooth teeth wing wrist""".split()
)
STYLES = frozenset(
    """abstract acrylic airbrush animated animation anime art artwork baroque blueprint caricature cartoon cartoonish cave cgi
    chalk charcoal chibi cinematic claymation collage comic comics crayon cubism cubist cyberpunk daguerreotype digital disney
    doodle drawing embroidery engraving etching expressionism expressionist fantasy fauvism filter fresco futurism ghibli
    gothic gouache graffiti graphic hdr icon illustration impressionism impressionist ink isometric lego line lineart
    linocut lithograph logo low-poly lowpoly lomography manga minimalist mosaic mural noir oil origami painted painting papercut
    pastel pencil photograph photorealistic photo picasso picture pixar pixel pixelated plasticine pointillism pointillist pop
    portrait poster postcard print polaroid psychedelic realistic relief renaissance render rendered rendering retro romanticism
    scene sculpture sepia silhouette simpsons sketch sketched snapshot stained steampunk stencil sticker still style stylized
    surreal surrealism surrealist synthwave tapestry ukiyo-e vaporwave vector vintage voxel watercolor woodblock woodcut
    monet gogh hopper dali rembrandt warhol vermeer matisse klimt hokusai poly 3d 2d""".split()
)
MEDIA = frozenset("photo photograph picture image snapshot portrait shot close-up closeup view scene".split())
"""What a prompt begins with to say that it is a photo; not by itself a style."""

SETTING_PREPOSITIONS = frozenset(
    """across against along amid among around at before behind beneath beside by down in inside into near on onto outside over
    overlooking past through throughout under underneath within front""".split()
)
ATTACHING = frozenset(
    """with wearing holding carrying and featuring including having plus beside next topped covered decorated full containing
    surrounded reading eating drinking riding playing pushing pulling hugging using smoking""".split()
)
"""What attaches another thing to a thing; the last ones take an object."""
PREPOSITIONS = SETTING_PREPOSITIONS | frozenset("of from for to off above below between beside as like about".split())
FUNCTION = PREPOSITIONS | frozenset(
    """a an the and or but with without is are was were be being it its his her their him them they he she this that these
    those some any one two three four five several many few there which who where while very next top other another own full
    each""".split()
)
NOUNS_IN_ING = frozenset(
    """awning building bring ceiling clothing crossing dressing drawing earring evening icing king lightning lighting meeting
    morning offering painting parking pudding railing ring shopping spring sterling string stocking swing thing training
    wedding wing engraving etching rendering landing viewing dining living sewing washing""".split()
)

OBJECTS = ANIMALS | PEOPLE | GARMENTS | FOOD | FURNITURE | THINGS
