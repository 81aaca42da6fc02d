"""Countries and well-known cities, by which a question in small letters, or in Chinese, names what it is about."""

from embeddings.text import word_set

ENGLISH = word_set(
    "afghanistan albania algeria angola argentina armenia australia austria azerbaijan bangladesh belarus belgium"
    " bolivia botswana brazil bulgaria cambodia cameroon canada chile china colombia croatia cuba cyprus denmark"
    " ecuador egypt england estonia ethiopia europe finland france germany ghana greece hungary iceland india"
    " indonesia iran iraq ireland israel italy japan kazakhstan kenya korea kuwait laos latvia lebanon libya"
    " lithuania madagascar malaysia mali malta mexico moldova mongolia morocco mozambique myanmar namibia nepal"
    " netherlands nicaragua nigeria norway oman pakistan panama paraguay peru philippines poland portugal qatar"
    " romania russia rwanda scotland senegal serbia singapore slovakia slovenia somalia spain sudan sweden"
    " switzerland syria taiwan tanzania thailand tunisia uganda ukraine uruguay uzbekistan venezuela vietnam wales"
    " yemen zambia zimbabwe africa asia antarctica amsterdam ankara athens baghdad bangkok barcelona beijing berlin"
    " bogota brussels budapest cairo chicago copenhagen delhi dubai dublin edinburgh helsinki istanbul jakarta"
    " jerusalem karachi kyoto lisbon london madrid manila melbourne montreal moscow mumbai munich nairobi osaka oslo"
    " paris prague rome seoul shanghai shenzhen stockholm sydney tehran tokyo toronto vancouver venice vienna warsaw"
    " zurich"
)
CHINESE = (
    "北京|上海|天津|重庆|河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南|湖北|湖南|广东|海南|四川|贵州|云南|陕西|甘肃|青海|内蒙古|广西|西藏|宁夏|新疆|香港|澳门|台湾"
    "|广州|深圳|杭州|南京|苏州|成都|武汉|西安|长沙|青岛|大连|厦门|昆明|哈尔滨|郑州|济南|合肥|福州|南昌|沈阳|长春|贵阳|兰州|桂林|三亚|拉萨|洛阳|无锡|宁波"
    "|中国|美国|英国|法国|德国|日本|韩国|朝鲜|俄罗斯|意大利|西班牙|葡萄牙|荷兰|比利时|瑞士|瑞典|挪威|芬兰|丹麦|波兰|希腊|奥地利|匈牙利|爱尔兰|冰岛|土耳其|印度|泰国|越南|新加坡"
    "|马来西亚|印度尼西亚|菲律宾|澳大利亚|新西兰|加拿大|墨西哥|巴西|阿根廷|智利|秘鲁|埃及|南非|尼日利亚|肯尼亚|以色列|伊朗|伊拉克|沙特|欧洲|非洲|亚洲|南极"
    "|纽约|伦敦|巴黎|东京|柏林|罗马|莫斯科|首尔|曼谷|悉尼|多伦多|洛杉矶|芝加哥|维也纳|阿姆斯特丹|巴塞罗那|马德里|威尼斯|京都|大阪|迪拜|伊斯坦布尔|开罗"
    "|故宫|长城|天安门|颐和园|兵马俑|黄河|长江|泰山|黄山|华山|西湖|莫高窟|布达拉宫|埃菲尔铁塔|卢浮宫"
)
